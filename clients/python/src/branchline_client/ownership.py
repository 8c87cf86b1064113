"""Whose client this is: one person in one organisation, from the first sign-in on."""

from branchline_client.errors import PrincipalChangedError
from branchline_client.message import Principal
from branchline_client.store import Store
from branchline_client.tasks import Tasks


class Ownership:
    """Remembers whose work is kept here, and which token is known to be theirs."""

    def __init__(self, owner: tuple[str, str] | None, store: Store, tasks: Tasks) -> None:
        """`owner` is what the store says: person and organisation."""
        self.principal: Principal | None = None
        self._owner = owner
        self._store = store
        self._tasks = tasks
        self._token: str | None = None

    @property
    def user_id(self) -> str | None:
        """The person, once the server has said who it is."""
        return None if self.principal is None else self.principal.user_id

    @property
    def defaults(self) -> dict[str, str]:
        """Fields that the server gives to a new record of this person's."""
        branch_ids = None if self.principal is None else self.principal.branch_ids
        return {"branch_id": branch_ids[0]} if branch_ids is not None and len(branch_ids) == 1 else {}

    def is_known(self, token: str) -> bool:
        """Whether a token is known to be this person's."""
        return token == self._token

    def admit(self, principal: Principal, token: str | None) -> None:
        """Take note of whom a token stands for. Raises PrincipalChangedError if what is kept here is another's."""
        mine = (principal.user_id, principal.organization_id)
        if self._owner not in (None, mine):
            raise PrincipalChangedError(
                "what is kept here is another person's, or of another organisation; use another folder"
            )
        if self._owner is None:
            self._owner = mine
            self._tasks.start(self._store.bind(*mine), name="branchline bind")
        self.principal = principal
        self._token = token
