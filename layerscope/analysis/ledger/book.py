"""The account of each claim while a root is being walked, and the ledger that comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from layerscope.analysis.ledger.kept import KeptSums
from layerscope.hostfs.measure import Marks, Sums
from layerscope.model.claim import Category, Claim
from layerscope.model.ledger import NO_LINKS, Inode, Ledger, LedgerClass, LedgerEntry, Link
from layerscope.model.problem import Problem, Severity

_BLOCK = 512
_TOLD = 20


class Account(Struct, eq=False):
    """What was counted for one claim. Bytes of inodes with names elsewhere are in ``links`` only, until they are paid.

    ``prefix`` stands before the paths of the tree that it is in. ``file_bytes`` and ``symlink_bytes`` are the apparent
    sizes of what is no directory in whole trees, each inode once; ``paid``: the bytes of links in ``disk``.
    ``links`` is None until there is one: there are as many accounts as layers, and few have any.
    """

    claim: Claim
    prefix: str = ""
    disk: int = 0
    apparent: int = 0
    count: int = 0
    file_bytes: int = 0
    symlink_bytes: int = 0
    paid: int = 0
    links: dict[int, tuple[int, int, int, int]] | None = None

    def link(self, key: int, seen: int, nlink: int, disk: int, apparent: int) -> bool:
        """Some names of an inode; whether others of it were known here already."""
        if self.links is None:
            self.links = {}
        known = self.links.pop(key, None)
        total = seen + (known[0] if known else 0)
        if total < nlink:
            self.links[key] = (total, nlink, disk, apparent)
        else:
            self.disk += disk
            self.apparent += apparent
        return known is not None


class Book:
    """All accounts of a root. Units are numbers of accounts, so that a measuring process needs nothing else."""

    def __init__(self) -> None:
        self.accounts: list[Account] = []
        self._unit: dict[Claim, int] = {}
        self._parts: dict[int, int] = {}
        self._closed: list[tuple[str, int, int, int]] = []
        self.vanished = 0

    def unit(self, claim: Claim, prefix: str = "") -> int:
        """The number of a claim's account; ``prefix`` stands before the paths of its tree."""
        number = self._unit.get(claim)
        if number is None:
            number = self._unit[claim] = len(self.accounts)
            self.accounts.append(Account(claim, prefix))
        return number

    def part(self, claim: Claim, prefix: str = "") -> int:
        """The number of an account of its own, for part of what a claim has; it is added to the claim's in the end."""
        self._parts[len(self.accounts)] = self.unit(claim, prefix)
        self.accounts.append(Account(claim, prefix))
        return len(self.accounts) - 1

    def take(self, sums: Sums) -> None:
        """Part of what was measured for a unit."""
        unit, disk, apparent, count, file_bytes, symlink_bytes, vanished, unreadable, links, _marks = sums
        account = self.accounts[unit]
        account.disk += disk
        account.apparent += apparent
        account.count += count
        account.file_bytes += file_bytes
        account.symlink_bytes += symlink_bytes
        self.vanished += vanished
        for path, own_disk, own_apparent in unreadable:
            self.unreadable(account.claim, account.prefix + path, own_disk, own_apparent)
        for link in links:
            if account.link(*link):
                account.file_bytes -= link[4]

    def use(self, unit: int, sums: KeptSums) -> None:
        """All of a part, as it was measured before."""
        account = self.accounts[unit]
        account.disk, account.apparent, account.count = sums.disk, sums.apparent, sums.count
        account.file_bytes, account.symlink_bytes = sums.file_bytes, sums.symlink_bytes

    def whole_sums(self, unit: int, marks: Marks) -> KeptSums | None:
        """All of a part, with ``marks``; None if inodes of it have names elsewhere."""
        one = self.accounts[unit]
        if one.links:
            return None
        return KeptSums(one.disk, one.apparent, one.count, one.file_bytes, one.symlink_bytes, marks)

    def unreadable(self, claim: Claim, path: str, disk: int, apparent: int) -> None:
        """A directory that could not be listed; its own blocks are no longer in the claim's account."""
        self._closed.append((path, self.unit(claim), disk, apparent))

    # ------------------------------------------------------------------ the end
    def ledger(self, root: str, shares_extents: bool) -> Ledger:
        """Everything that was counted; may be asked for once."""
        self._join()
        for path, unit, disk, apparent in sorted(self._closed):
            whose = self.accounts[unit].claim
            reason = f"can't be listed; it would be {whose.category} by {whose.reason}"
            claim = Claim(path, Category.UNREADABLE, whose.owner, reason, whose.rank)
            account = self.accounts[self.unit(claim)]
            account.disk, account.apparent, account.count = disk, apparent, 1
        self._pay()
        entries = sorted(self._entries(), key=lambda entry: (-entry.disk, entry.path))
        classes: dict[Category, list[int]] = {}
        for entry in entries:
            sums = classes.setdefault(entry.category, [0, 0, 0])
            sums[0] += entry.disk
            sums[1] += entry.apparent
            sums[2] += entry.count
        total = sum(entry.disk for entry in entries)
        unknown = classes.get(Category.UNKNOWN, [0])[0]
        return Ledger(
            root=root,
            total_disk=total,
            accounted_disk=total - unknown,
            unaccounted_disk=unknown,
            classes=tuple(
                LedgerClass(category, *sums)
                for category, sums in sorted(classes.items(), key=lambda item: (-item[1][0], item[0]))
            ),
            entries=tuple(entries),
            vanished=self.vanished,
            shares_extents=shares_extents,
            problems=tuple(self._problems()),
        )

    def _entries(self) -> Iterator[LedgerEntry]:
        """The entry of each account, which goes as its entry comes."""
        self._unit.clear()
        self.accounts.reverse()
        while self.accounts:
            account = self.accounts.pop()
            if account.count or account.disk:
                yield _entry(account)

    def outside(self) -> frozenset[tuple[Inode, int, int]]:
        """The inodes with names that weren't seen: each with the number of those that were, and the link count."""
        seen: dict[Inode, int] = {}
        for account in self.accounts:
            for key, link in _links(account):
                seen[key] = seen.get(key, 0) + link[0]
        found = ((key, link[1]) for account in self.accounts for key, link in _links(account))
        return frozenset((key, seen[key], nlink) for key, nlink in found if seen[key] < nlink)

    def _join(self) -> None:
        for part, whole in self._parts.items():
            here, account = self.accounts[part], self.accounts[whole]
            account.disk += here.disk
            account.apparent += here.apparent
            account.count += here.count
            account.file_bytes += here.file_bytes
            account.symlink_bytes += here.symlink_bytes
            for key, link in _links(here):
                if account.link(key, *link):
                    account.file_bytes -= link[3]
            self.accounts[part] = Account(here.claim)

    def _pay(self) -> None:
        """Put each inode that several accounts have into the first of them."""
        paid: set[int] = set()
        for account in sorted(self.accounts, key=lambda one: (one.claim.rank, one.claim.path)):
            for key, (_seen, _nlink, disk, apparent) in _links(account):
                if key not in paid:
                    paid.add(key)
                    account.disk += disk
                    account.paid += disk
                    account.apparent += apparent

    def _problems(self) -> list[Problem]:
        found = []
        for path, _unit, _disk, _apparent in sorted(self._closed)[:_TOLD]:
            effect = "what is below it is in no sum"
            found.append(Problem(path, "can't be listed", effect, "run as root"))
        if len(self._closed) > _TOLD:
            found.append(Problem("", f"{len(self._closed) - _TOLD} more directories can't be listed"))
        if self.vanished:
            what = f"changed while it was read: {self.vanished} entries vanished"
            found.append(Problem("", what, "sums are of no single moment", severity=Severity.NOTE))
        return found


def _links(account: Account) -> Iterable[tuple[int, tuple[int, int, int, int]]]:
    return () if account.links is None else account.links.items()


def _entry(account: Account) -> LedgerEntry:
    claim = account.claim
    measured = account.file_bytes if claim.stored_size is not None else None
    return LedgerEntry(
        path=claim.path,
        category=claim.category,
        owner=claim.owner,
        reason=claim.reason,
        disk=account.disk,
        own_disk=account.disk - account.paid if account.paid else account.disk,  # one number, not two
        apparent=account.apparent,
        count=account.count,
        stored=claim.stored_size,
        measured=measured,
        cause=_cause(claim, account),
        links={key: Link(*link) for key, link in _links(account)} or NO_LINKS,
    )


def _cause(claim: Claim, account: Account) -> str:
    """Why a layer's recorded size isn't what its files have."""
    stored = claim.stored_size
    if stored is None or stored == account.file_bytes:
        return ""
    if stored == account.file_bytes - account.symlink_bytes:
        return "the record counts a tar's file bytes, in which symlinks have none"
    if claim.whole_tree and stored < account.file_bytes:
        return "the directory holds the files of the layers below, too"
    if stored < account.file_bytes:
        return "files were added or grew after the layer was made"
    return "files are missing or shrank after the layer was made"
