#include "h2/calm.h"

#include "base/err.h"
#include "h2/h2_int.h"

#define SECOND_US 1000000u
/** WINDOW_UPDATE frames that are free for a DATA frame: readers open the stream's and the connection's window, some
 *  for each piece they take. */
#define WINDOWS_OF_DATA 4
/** PING: gRPC measures a round trip by one while it receives. */
#define PINGS_OF_DATA 1
/** DATA that filled its stream's window frees them from this size on: whoever opens windows byte by byte makes
 *  us send as many frames (CVE-2019-9511). */
#define DATA_WORTH 1024
/** SETTINGS_MAX_FRAME_SIZE, which we leave as it is: what is larger has an error of its own. */
#define FRAME_MAX 16384
/** Padding's length alone: a padded DATA frame without a byte. */
#define PADDING_ONLY 1

/* A browser that closes a tab gives up all its streams at once; 1000 and 33 are what nghttp2 grants, too. */
static const struct {
	uint32_t burst, per_second;
} limits[CALM_KINDS] = {
	[CALM_RESET] = {1000, 33},    /* CVE-2023-44487, CVE-2025-8671 */
	[CALM_ANSWER] = {1000, 100},  /* CVE-2019-9512, -9515 */
	[CALM_WINDOW] = {1000, 100},  /* beside what data lets pass */
	[CALM_EMPTY] = {1000, 100},   /* CVE-2019-9513, -9518; browsers re-prioritise what scrolls into view */
};

static bool spend(struct h2 *h, enum calm_kind kind)
{
	uint64_t since = h->calm.kinds[kind].since_us, now = h->now_us;
	uint32_t rate = limits[kind].per_second * h->calm.crowd, spent = h->calm.kinds[kind].spent;
	uint64_t back = now > since ? (now - since) * rate / SECOND_US : 0;

	/* earned by data; that may come long after it, and all at once: what is not used is kept */
	if (h->calm.kinds[kind].earned) {
		h->calm.kinds[kind].earned--;
		return true;
	}
	if (back >= spent) {
		spent = 0;
		h->calm.kinds[kind].since_us = now;
	} else {
		spent -= (uint32_t)back;
		h->calm.kinds[kind].since_us = since + back * SECOND_US / rate;
	}
	h->calm.kinds[kind].spent = spent + 1;
	return spent < limits[kind].burst * h->calm.crowd;
}

bool h2_calm_hasty(const struct h2 *h)
{
	uint64_t since = h->calm.kinds[CALM_RESET].since_us, now = h->now_us;
	uint64_t back = now > since ? (now - since) * limits[CALM_RESET].per_second / SECOND_US : 0;

	return h->calm.kinds[CALM_RESET].spent > CALM_HASTY + back;
}

void h2_calm_end(struct h2 *h)
{
	h->calmed = true;
	h->gate.shut = true;
	h2_submitted(h, nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM));
}

static bool is_empty_data(uint8_t flags, size_t length)
{
	return !(flags & NGHTTP2_FLAG_END_STREAM) && length <= (flags & NGHTTP2_FLAG_PADDED ? PADDING_ONLY : 0);
}

bool h2_calm_frame(struct h2 *h)
{
	uint8_t type = h->gate.frame[3], flags = h->gate.frame[4];
	size_t length = h->gate.length;

	switch (type) {
	case NGHTTP2_HEADERS:
		h->calm.continuations = 0;
		return true;
	case NGHTTP2_CONTINUATION:
		return ++h->calm.continuations <= CALM_CONTINUATIONS;
	case NGHTTP2_DATA:
		return !is_empty_data(flags, length) || spend(h, CALM_EMPTY);
	case NGHTTP2_RST_STREAM:
		return spend(h, CALM_RESET);
	case NGHTTP2_WINDOW_UPDATE:
		return spend(h, CALM_WINDOW);
	case NGHTTP2_SETTINGS:
		if (length > CALM_SETTINGS * GATE_ENTRY && length <= FRAME_MAX)
			return false;
		return spend(h, CALM_ANSWER);
	case NGHTTP2_PING:
		return spend(h, CALM_ANSWER);
	default:
		return spend(h, CALM_EMPTY);
	}
}

bool h2_calm_queue(const struct h2 *h)
{
	return nghttp2_session_get_outbound_queue_size(h->session) <= CALM_QUEUE;
}

bool h2_calm_field(struct h2 *h, size_t name, size_t value)
{
	h->calm.block += name + value + H2_FIELD_OVERHEAD;
	return !h->gated || h->calm.block <= CALM_BLOCK_MAX;
}

void h2_blame(struct h2 *h)
{
	if (h->gated && !spend(h, CALM_RESET) && !h->gate.shut)
		h2_calm_end(h);
}

void h2_calm_turned_away(struct h2 *h)
{
	h->calm.turned_away++;
}

/* Of the streams that nobody knows: nghttp2 refuses one that is too many with the same code, and that is his fault. */
static bool is_turned_away(struct h2 *h, bool known, uint32_t code)
{
	if (known || code != NGHTTP2_REFUSED_STREAM || !h->calm.turned_away)
		return false;
	h->calm.turned_away--;
	return true;
}

/* What he made us reset (CVE-2025-8671), not what an origin did, nor what we had no room for. */
void h2_calm_reset(struct h2 *h, bool known, uint32_t code)
{
	bool his = code == NGHTTP2_PROTOCOL_ERROR || code == NGHTTP2_FLOW_CONTROL_ERROR ||
	           code == NGHTTP2_STREAM_CLOSED || code == NGHTTP2_FRAME_SIZE_ERROR;

	if (!is_turned_away(h, known, code) && (his || !known))
		h2_blame(h);
}

void h2_calm_data(struct h2 *h, size_t n, int32_t left)
{
	if (left > 0 || n >= DATA_WORTH) {
		h->calm.kinds[CALM_WINDOW].earned += WINDOWS_OF_DATA;
		h->calm.kinds[CALM_ANSWER].earned += PINGS_OF_DATA;
	}
}
