/* read_script: all that a stream has to give, as its owner would read it. For unit tests only.
 */
#ifndef ADIT_TESTS_READ_SCRIPT_H
#define ADIT_TESTS_READ_SCRIPT_H

#include "base/buf.h"
#include "base/err.h"
#include "io/stream.h"
#include "unit.h"

/** Into `got`, by pieces of at most `piece` (up to 4096) bytes. Gives 0 when more may come, else why none does. */
static inline int read_everything(struct stream *s, struct buf *got, size_t piece)
{
	uint8_t block[4096];
	ssize_t n;

	while ((n = stream_read(s, block, piece)) > 0)
		CU_ASSERT_EQUAL(buf_add(got, block, (size_t)n), 0);
	return n == ADIT_ERR_AGAIN ? 0 : (int)n;
}

#endif
