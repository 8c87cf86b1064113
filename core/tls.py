"""TLS of the servers: a certificate and its key from files, or none where a proxy does it."""

import ssl

from core.lifecycle import StartupError


def server_context(certificate: str, key: str) -> ssl.SSLContext | None:
    """Give the context for a server, TLS 1.2 or later; None where neither file is set. Raises StartupError."""
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise StartupError(
            "BRANCHLINE_TLS_CERT and BRANCHLINE_TLS_KEY belong together: set both, or neither."
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise StartupError(
            f"the certificate {certificate} and the key {key} cannot be used ({type(error).__name__}): give PEM files "
            "that belong together and that this user may read."
        ) from None
    return context
