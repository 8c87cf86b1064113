"""PURE. Who acts, and what they may read and write."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from core.protocol.collection import Collection

Role = Literal["owner", "admin", "manager", "agent", "viewer"]
Operation = Literal["read", "insert", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Principal:
    """A person in one organisation, as their membership says today.

    `branch_ids` are the branches they may write to, None for all. `reads` "own" narrows what they read to these
    branches and to records of no branch.
    """

    user_id: str
    name: str
    organization_id: str
    role: Role
    branch_ids: frozenset[str] | None
    reads: Literal["all", "own"]
    session_id: str

    @property
    def readable_branches(self) -> frozenset[str] | None:
        """Branches whose records they read beside those of no branch; None for all."""
        return None if self.reads == "all" else self.branch_ids

    def reads_collection(self, collection: Collection) -> bool:
        """Whether they may read the collection at all."""
        return collection.readable_by is None or self.role in collection.readable_by

    def writes_collection(self, collection: Collection) -> bool:
        """Whether they may write to the collection at all; their branches narrow it further."""
        if self.role == "viewer" or not self.reads_collection(collection):
            return False
        return collection.writable_by is None or self.role in collection.writable_by

    def writes_branch(self, branch_id: str | None) -> bool:
        """Whether they may write a record of this branch; one of no branch belongs to those who write to all."""
        return self.branch_ids is None or branch_id in self.branch_ids

    def may(self, operation: Operation, collection: Collection, branch_id: str | None = None) -> bool:
        """Whether they may do this to a record of the collection; `branch_id` is its branch, where it has one."""
        if operation == "read":
            branches = self.readable_branches
            is_shown = branches is None or branch_id is None or branch_id in branches
            return self.reads_collection(collection) and is_shown
        if operation == "insert" and collection.name == "organization_members":
            return False  # nobody is made a member unasked: they accept an invitation
        return self.writes_collection(collection) and (
            not collection.has_branch or self.writes_branch(branch_id)
        )

    @property
    def handles_memberships(self) -> bool:
        """Whether they see who belongs to the organisation with e-mail address, role and branches."""
        return self.role in ("owner", "admin")

    @property
    def known_branches(self) -> frozenset[str] | None:
        """Branches whose people they know by name, beside those of all branches; None for everybody.

        Who reads their own branches only meets the names of those who may write there.
        """
        return None if self.handles_memberships else self.readable_branches

    @property
    def invites(self) -> bool:
        """Whether they may ask people in, and see who was asked."""
        return self.role in ("owner", "admin")

    def invites_to(self, role: Role) -> bool:
        """Whether they may ask people in to be that: only owners make owners."""
        return self.invites and (role != "owner" or self.role == "owner")

    def gives_branches(self, branch_ids: Iterable[str] | None) -> bool:
        """Whether they may assign somebody to these branches, None for all: to none that is not theirs."""
        return self.branch_ids is None or (branch_ids is not None and self.branch_ids.issuperset(branch_ids))

    def gives_reads(self, reads: str) -> bool:
        """Whether they may have somebody read `all` branches or their `own`: nobody more than they read."""
        return reads == "own" or self.readable_branches is None

    @property
    def reads_security_events(self) -> bool:
        """Whether the audit log is for them."""
        return self.role == "owner"

    @property
    def handles_tax_ids(self) -> bool:
        """Whether they may read and write what is sealed of clients."""
        return self.role in ("owner", "admin", "manager")

    @property
    def handles_integrations(self) -> bool:
        """Whether they may give and take tokens of outside systems."""
        return self.role in ("owner", "admin")

    @property
    def gives_portal_access(self) -> bool:
        """Whether they may let contacts see their own records; their branches narrow it further."""
        return self.role != "viewer"

    def hidden_fields(self, collection: Collection) -> frozenset[str]:
        """Fields that they may not read."""
        return frozenset(
            f.name
            for f in collection.fields.values()
            if f.readable_by is not None and self.role not in f.readable_by
        )
