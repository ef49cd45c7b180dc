/* guesses: who guesses wrongly how often: wrong passwords of visitors, wrong tokens at aditd's endpoints.
 * Layer rules; no clock: times come in, in milliseconds. One for a program; rules and edge/endpoint ask it.
 * Invariant: at most GUESSES_SOURCES are remembered, the one that was quiet for longest is forgotten for a new one.
 *
 *   1st … 4th wrong guess:                401
 *   5th:                                  429, and nothing it guesses is looked at for a second
 *   each further one that is looked at:   429, and twice as long, up to a minute
 *   a minute without any:                 all is forgotten
 *
 * A token that is right is accepted during that time as well, for no number of guesses finds one. A password may be
 * found by guessing, so none is tried then, but one that has been right before is known without.
 */
#ifndef ADIT_RULES_GUESSES_H
#define ADIT_RULES_GUESSES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

/** 400 KiB when all of them are there. */
#define GUESSES_SOURCES 4096
/** Who mistypes has four attempts. */
#define GUESSES_FREE 4
#define GUESSES_WINDOW_MS 60000
#define GUESSES_WAIT_MAX_S 60
/** Passwords whose hash is computed, 3 ms each, from whatever sources: a twentieth of a core. */
#define GUESSES_HASHES_PER_SECOND 16
#define GUESSES_HASHES_BURST 64

struct guesses;

/** NULL: out of memory. */
struct guesses *guesses_new(uint64_t now_ms);
void guesses_free(struct guesses **g);

/** Where guesses come from, of a visitor's address as text: an IPv4 address, an IPv6 /64, or all that have none. */
struct guess_source {
	struct in6_addr prefix;
};
struct guess_source guess_source_of(const struct in6_addr *address);

/** For how many seconds nothing that comes from there is looked at; 0 = it may guess. */
unsigned guesses_wait(struct guesses *g, struct guess_source s, uint64_t now_ms);
/** It was wrong; returns what guesses_wait would. During a wait it changes nothing. */
unsigned guesses_wrong(struct guesses *g, struct guess_source s, uint64_t now_ms);
/** May one more hash be computed? */
bool guesses_may_hash(struct guesses *g, uint64_t now_ms);
/** Sources that are remembered. */
unsigned guesses_count(const struct guesses *g);

#endif
