"""Records of JSON and short texts, spoiled at random, and everything that can be asked of a root without its files."""

from __future__ import annotations

import random

from layerscope.services import Session

WORDS = [
    *(b'"id"', b'"parent"', b'"layer"', b'"names"', b'"flags"', b'"metadata"', b'"created"', b"null", b"true", b"[]"),
    *(b"{}", b"-1", b"1e400", b'"sha256:"', b"../../etc", b"\\u0000", b"\\ud800", b"99999999999999999999", b"\xff\xfe"),
]


def spoil(data: bytes, choose: random.Random) -> bytes:
    """``data`` with a few changes: bits, words of its own, pieces cut, doubled, moved, the end gone."""
    spoiled = bytearray(data)
    for _ in range(choose.choice((1, 1, 2, 3, 8, 40))):
        if not spoiled:
            break
        place = choose.randrange(len(spoiled))
        length = choose.choice((1, 2, 8, 64, 65, 4096))
        match choose.randrange(7):
            case 0:
                spoiled[place] ^= 1 << choose.randrange(8)
            case 1:
                spoiled[place : place + length] = choose.randbytes(min(length, len(spoiled) - place))
            case 2:
                del spoiled[place : place + length]
            case 3:
                spoiled[place:place] = spoiled[place : place + length]
            case 4:
                word = choose.choice(WORDS)
                spoiled[place : place + len(word)] = word
            case 5:
                other = choose.randrange(len(spoiled))
                spoiled[place : place + length] = spoiled[other : other + length]
            case _:
                if choose.randrange(4) == 0:
                    del spoiled[place:]
    return bytes(spoiled)


def everything(session: Session) -> list[object]:
    """All that is told of a root, without its files."""
    told: list[object] = [session.info(), session.images(), session.containers()]
    for thing in (*session.store.images(), *session.store.containers()):
        subject = session.find(f"{'image' if thing in session.store.images() else 'container'}:{thing.id}")
        told.append(session.levels(subject))
        told.append(session.records(subject))
        if subject.image is not None:
            told.append(session.history(subject))
        told.append(session.owners(thing.id))
    return told
