#!/usr/bin/env python3
"""Explores every state of a small model of epochs and fencing (doc/model.md): two honest sides, a network that
delays, loses and repeats, an attacker without bearer or without secret. The rules as programmed must hold everywhere;
each variant with one rule taken out must break, else the model could not show anything.

  check_model.py            what `make check` runs
  check_model.py --big      wider bounds, minutes
  check_model.py --show     the shortest way to each variant's failure
"""
import collections
import sys

# Where aditd's link runs: nowhere; on adit's carrier; on the one where adit awaits ATTACHED; on one that adit has
# left or never had (an abandoned attempt, a repeated frame).
NOWHERE, CARRIER, KNOCK, ORPHAN = range(4)

# One side's offsets: DATA received, acked by the far end, ever sent, next to send on this carrier, told by ACK or
# attach.
Side = collections.namedtuple('Side', 'rx acked sent pos told')
# adit's carrier: what is on its way to aditd and to adit, and whether aditd has ended it.
Carrier = collections.namedtuple('Carrier', 'up down ended')
# The carrier that adit knocks at: ATTACH has not been read yet; the way down.
Knock = collections.namedtuple('Knock', 'unread down ended')
# on: aditd's carrier, one of the four; orphan: bytes on their way to aditd on a carrier that adit has left;
# frames: the offset in the ATTACH of each epoch, from 1; late: variant offset_first, the answer that is not
# given yet.
State = collections.namedtuple('State', 'a carrier knock epoch s on orphan stored frames late')

VARIANTS = {
    'no_epoch': 'an epoch may be used again',
    'offset_first': 'aditd takes its offset, and fences only then',
    'read_on': 'adit reads its old carrier while ATTACH is under way',
    'no_range': 'the offset in ATTACH is not checked',
    'no_fence': 'the old carrier is left open',
    'no_bearer': 'the request of the carrier is not authenticated',
    'no_proof': 'the proof is not checked',
}


class Broken(Exception):
    """An invariant does not hold."""


def start():
    zero = Side(0, 0, 0, 0, 0)
    return State(zero, Carrier((), (), False), None, 0, zero, CARRIER, (), 0, (), None)


# ---- bytes

def send(side, length):
    """One byte more on this carrier; the true number goes along, which the receiver does not look at."""
    if side.pos == length:
        return None, None
    return side._replace(pos=side.pos + 1, sent=max(side.sent, side.pos + 1)), ('DATA', side.pos)


def ack(side):
    if side.rx == side.told:
        return None, None
    return side._replace(told=side.rx), ('ACK', side.rx)


def take(side, message):
    kind, value = message
    if kind == 'DATA':
        if value != side.rx:
            raise Broken('byte %d is delivered where %d is due' % (value, side.rx))
        return side._replace(rx=side.rx + 1)
    if not side.acked <= value <= side.pos:
        raise Broken('an honest ACK of %d is outside [%d, %d]' % (value, side.acked, side.pos))
    return side._replace(acked=value)


def resume(side, peer_rx):
    """link_attach"""
    if not side.acked <= peer_rx <= side.sent:
        raise Broken('a link goes on from %d, outside [%d, %d]' % (peer_rx, side.acked, side.sent))
    return side._replace(acked=peer_rx, pos=peer_rx, told=side.rx)


# ---- aditd: edge/accept_attach.c

def fence(st, variant):
    """Ends aditd's carrier; what it had not read of it is forgotten."""
    if st.on == CARRIER and variant != 'no_fence':
        return st._replace(carrier=st.carrier._replace(up=(), ended=True), on=NOWHERE)
    if st.on == KNOCK:
        return st._replace(knock=st.knock._replace(ended=True), on=NOWHERE)
    return st._replace(on=NOWHERE, orphan=())


def accept(st, epoch, offset, on, rx):
    st = st._replace(s=resume(st.s, offset), stored=max(epoch, st.stored), on=on, orphan=(), late=None)
    if on == KNOCK:
        st = st._replace(knock=st.knock._replace(unread=False, down=(('ATTACHED', epoch, rx),)))
    return st


def judge(st, epoch, offset, proof, bearer, variant):
    """0, or the code of the refusal, in the order of the programs."""
    if not bearer and variant != 'no_bearer':
        return 401
    if not proof and variant != 'no_proof':
        return 403
    if epoch <= st.stored and variant != 'no_epoch':
        return 409
    if not st.s.acked <= offset <= st.s.sent and variant != 'no_range':
        return 400
    return 0


def attach(st, epoch, offset, on, variant, proof=True, bearer=True):
    """ATTACH has come, on a carrier of adit's (KNOCK) or on another one (ORPHAN)."""
    code = judge(st, epoch, offset, proof, bearer, variant)
    if code and on == KNOCK:
        return st._replace(knock=st.knock._replace(unread=False, down=(('CLOSE', code),)))
    if code:
        return st
    if not (proof and bearer):
        raise Broken('a stranger has taken the link over')
    if epoch <= st.stored:
        raise Broken('epoch %d, used before, detaches the owner of epoch %d' % (epoch, st.stored))
    if variant == 'offset_first':
        if on == KNOCK:
            st = st._replace(knock=st.knock._replace(unread=False))
        return st._replace(late=(epoch, offset, on, st.s.rx))
    st = fence(st, variant)
    return accept(st, epoch, offset, on, st.s.rx)


def settle_late(st, variant):
    epoch, offset, on, rx = st.late
    if on == KNOCK and (st.knock is None or epoch != st.epoch):
        on = ORPHAN
    if not st.s.acked <= offset <= st.s.sent: # it has been acked since
        return st._replace(late=None)
    return accept(fence(st, variant), epoch, offset, on, rx)


def aditd_steps(st, bounds, variant):
    if st.late:
        yield 'aditd answers', settle_late(st, variant)
    if st.on == CARRIER and st.carrier.up:
        c = st.carrier
        yield 'aditd reads', st._replace(s=take(st.s, c.up[0]), carrier=c._replace(up=c.up[1:]))
    if st.on == ORPHAN and st.orphan:
        yield 'aditd reads what was left', st._replace(s=take(st.s, st.orphan[0]), orphan=st.orphan[1:])
    if st.on != NOWHERE:
        for side, message in (send(st.s, bounds.down), ack(st.s)):
            if side:
                yield 'aditd sends %s %d' % message, push_down(st._replace(s=side), message)
        if not st.late:
            yield 'aditd loses its carrier', fence(st, None)
    if st.late:
        return
    if st.knock and st.knock.unread:
        yield 'ATTACH %d arrives' % st.epoch, attach(st, st.epoch, st.frames[-1], KNOCK, variant)
    for i, offset in enumerate(st.frames):
        yield 'ATTACH %d arrives late or again' % (i + 1), attach(st, i + 1, offset, ORPHAN, variant)
        attach(st, i + 1, offset, ORPHAN, variant, bearer=False)
    for offset in {st.s.acked, st.s.sent}: # forged, by one who has a bearer of this token
        attach(st, st.stored + 1, offset, ORPHAN, variant, proof=False)


def push_down(st, message):
    if st.on == CARRIER:
        return st._replace(carrier=st.carrier._replace(down=st.carrier.down + (message,)))
    if st.on == KNOCK:
        return st._replace(knock=st.knock._replace(down=st.knock.down + (message,)))
    return st


# ---- adit: session/dialer_attach.c

def leave(st):
    """adit drops its carrier; what it had written may still arrive."""
    on, orphan = st.on, st.orphan
    if on == CARRIER:
        on, orphan = ORPHAN, st.carrier.up
    return st._replace(carrier=None, on=on, orphan=orphan)


def give_up(st):
    on = ORPHAN if st.on == KNOCK else st.on
    return st._replace(knock=None, on=on)


def answered(st):
    """The first frame on the carrier that adit knocks at."""
    frame = st.knock.down[0]
    if frame[0] == 'CLOSE':
        if frame[1] != 409: # the dialer would give the link up
            raise Broken('CLOSE(%d) for an attempt that adit stands by' % frame[1])
        return give_up(st)
    a = resume(st.a, frame[2])
    on = CARRIER if st.on == KNOCK else st.on
    if on == ORPHAN or (st.carrier and not st.carrier.ended):
        raise Broken('adit moves while aditd runs the link elsewhere')
    return st._replace(a=a, carrier=Carrier((), st.knock.down[1:], st.knock.ended), knock=None, on=on)


def adit_steps(st, bounds, variant):
    c = st.carrier
    if c:
        for side, message in (send(st.a, bounds.up), ack(st.a)):
            if side:
                up = c.up + (message,) if not c.ended else ()
                yield 'adit sends %s %d' % message, st._replace(a=side, carrier=c._replace(up=up))
        if c.down and (not st.knock or variant == 'read_on'):
            yield 'adit reads', st._replace(a=take(st.a, c.down[0]), carrier=c._replace(down=c.down[1:]))
        yield 'adit loses its carrier', leave(st)
    if st.knock:
        yield 'adit gives its attempt up', give_up(st)
        if st.knock.down:
            yield 'adit reads the answer', answered(st)
    elif st.epoch < bounds.epochs:
        yield from dial(st)


def dial(st):
    yield 'adit sends ATTACH %d from %d' % (st.epoch + 1, st.a.rx), st._replace(
        epoch=st.epoch + 1, frames=st.frames + (st.a.rx,), knock=Knock(True, (), False))


# ---- what must hold

def check(st):
    open_carrier = st.carrier is not None and not st.carrier.ended
    if st.on in (KNOCK, ORPHAN) and open_carrier:
        raise Broken('two carriers are open at aditd')
    if st.on == CARRIER and not open_carrier or st.on == KNOCK and (not st.knock or st.knock.ended):
        raise Broken('aditd runs the link on a carrier that has ended')
    if st.a.rx > st.s.sent or st.s.rx > st.a.sent:
        raise Broken('more was received than sent')
    if st.a.acked > st.s.rx or st.s.acked > st.a.rx:
        raise Broken('more was acked than received')


def only(steps, name):
    for label, st in steps:
        if label.startswith(name):
            return st
    raise Broken('no way on: "%s" is not possible' % name)


def recovers(st, bounds):
    """From here there is a way to one carrier for both, on which all bytes arrive: give up, dial, attach, send."""
    if st.knock:
        st = give_up(st)
    st = only(dial(st), 'adit sends')
    st = only(aditd_steps(st, bounds, None), 'ATTACH %d arrives' % st.epoch)
    st = answered(st)
    if st.on != CARRIER or st.carrier is None or st.carrier.ended:
        raise Broken('after an undisturbed ATTACH they are not on one carrier')
    for _ in range(4 * (bounds.up + bounds.down) + 8):
        for steps in (adit_steps, aditd_steps):
            for label, after in steps(st, bounds, None):
                if label.split()[1] in ('sends', 'reads') and 'ATTACH' not in label:
                    st = after
                    break
    if (st.a.rx, st.s.rx) != (bounds.down, bounds.up):
        raise Broken('not all bytes arrive')


# ---- exploring

Bounds = collections.namedtuple('Bounds', 'up down epochs')


def steps_of(st, bounds, variant):
    yield from adit_steps(st, bounds, variant)
    yield from aditd_steps(st, bounds, variant)


def way_to(seen, st):
    way = []
    while seen[st]:
        st, label = seen[st]
        way.append(label)
    return way[::-1]


def explore(bounds, variant):
    """States, transitions, longest shortest way, failure (None when all holds) and the way to it."""
    first = start()
    seen = {first: None}
    level, depth, moves = [first], 0, 0
    while level:
        after = []
        for st in level:
            try:
                if not variant:
                    recovers(st, bounds)
                for label, to in steps_of(st, bounds, variant):
                    moves += 1
                    if to in seen:
                        continue
                    seen[to] = (st, label)
                    check(to)
                    after.append(to)
            except Broken as e:
                return len(seen), moves, depth, str(e), way_to(seen, st)
        level = after
        depth += bool(after)
    return len(seen), moves, depth, None, []


def run(bounds):
    states, moves, depth, failure, way = explore(bounds, None)
    print('as programmed, %d bytes up, %d down, %d epochs: %d states, %d transitions, depth %d: %s'
          % (*bounds, states, moves, depth, failure or 'all hold, all recover'))
    for label in way:
        print('    ' + label)
    return failure is None


def run_variant(variant, show):
    states, _, _, failure, way = explore(Bounds(1, 2, 3), variant)
    print('%s (%s): %s after %d steps, %d states'
          % (variant, VARIANTS[variant], failure or 'NOTHING FOUND', len(way) + 1, states))
    for label in way if show else ():
        print('    ' + label)
    return failure is not None


def main(args):
    show = '--show' in args
    bounds = [Bounds(1, 1, 3), Bounds(1, 2, 2)]
    if '--big' in args:
        bounds += [Bounds(2, 2, 2), Bounds(1, 1, 5), Bounds(1, 2, 3)]
    good = all([run(b) for b in bounds])
    good = all([run_variant(v, show) for v in VARIANTS]) and good
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
