"""Mail to people: invitations and ways back to a password. Where it goes is pluggable; a link in it is a secret."""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import structlog
from uuid_utils import uuid7

SMTP_SECONDS = 20.0
AT_ONCE = 2
"""Mails under way to a server: each holds a thread, and a server that hangs must not hold those of others."""

_log = structlog.get_logger()


class MailError(Exception):
    """The mail could not be handed over."""


class MailSender(Protocol):
    """Hands a mail over to whoever carries it. Raises MailError."""

    async def send(self, to: str, subject: str, text: str) -> None:
        """Send one mail."""


class KeptMail:
    """Development: each mail is a file in a folder, and the log says which. The log itself holds no secret."""

    def __init__(self, folder: Path, sender: str) -> None:
        self._folder = folder
        self._sender = sender

    async def send(self, to: str, subject: str, text: str) -> None:
        """Keep one mail."""
        path = self._folder / f"{uuid7()}.eml"
        # As it is: people open the file, and quoted-printable would break the link in two.
        content = _message(self._sender, to, subject, text, encoding="8bit").as_bytes()

        def keep() -> None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(content)

        try:
            await asyncio.to_thread(keep)
        except OSError as error:
            raise MailError(f"{self._folder} cannot be written") from error
        _log.info("mail.kept", subject=subject, path=str(path))


class SmtpMail:
    """By SMTP: `smtp://` begins plain and asks for TLS where a user is named, `smtps://` is TLS from the start."""

    def __init__(self, url: str, sender: str) -> None:
        parts = urlsplit(url)
        self._is_tls = parts.scheme == "smtps"
        self._host = parts.hostname or "localhost"
        self._port = parts.port or (465 if self._is_tls else 587 if parts.username else 25)
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._sender = sender
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def send(self, to: str, subject: str, text: str) -> None:
        """Send one mail, when it is its turn."""
        message = _message(self._sender, to, subject, text)
        try:
            async with asyncio.timeout(SMTP_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise MailError("the mail server has not taken the mails before it") from None
        try:
            await asyncio.to_thread(self._send, message)
        except (OSError, smtplib.SMTPException) as error:
            raise MailError(f"the mail server did not take it ({type(error).__name__})") from error
        finally:
            self._turns.release()

    def _send(self, message: EmailMessage) -> None:
        context = ssl.create_default_context()
        if self._is_tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, timeout=SMTP_SECONDS, context=context
            )
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=SMTP_SECONDS)
        with server:
            if self._user:
                if not self._is_tls:
                    server.starttls(context=context)
                server.login(self._user, self._password)
            server.send_message(message)


class NoMail:
    """Production without a mail server: nothing can be sent."""

    async def send(self, to: str, subject: str, text: str) -> None:
        """Refuse."""
        raise MailError("BRANCHLINE_MAIL_URL is not set")


def mail_sender(url: str, sender: str, folder: Path | None) -> MailSender:
    """Choose who carries mail: a server, or else a folder, or else nobody."""
    if url:
        return SmtpMail(url, sender)
    return NoMail() if folder is None else KeptMail(folder, sender)


def _message(sender: str, to: str, subject: str, text: str, encoding: str | None = None) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message.set_content(text, cte=encoding)
    return message
