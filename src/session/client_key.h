/* client_key: the 128 bits that random names derive from, the same again for the same user on the same machine.
 * Layer session; adit puts them into HELLO.
 * Invariant: without a place to keep them, or when that fails, they are fresh ones.
 */
#ifndef ADIT_SESSION_CLIENT_KEY_H
#define ADIT_SESSION_CLIENT_KEY_H

#include <stdint.h>

#include "base/log.h"

/** `state_dir`, made with all above it when it is not there, may be NULL. The log is told when it cannot be kept. */
void client_key(const char *state_dir, uint8_t key[16], struct log *log);

#endif
