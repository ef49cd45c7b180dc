/* judge: what a request's head must be, besides being well-formed in its version of HTTP.
 * Layer http. edge_h2 and h2 ask it; h1 judges while it parses, by the same functions.
 * Invariant: a head that passes can be written as an HTTP/1.1 request head whose parts are read back the same.
 */
#ifndef ADIT_HTTP_JUDGE_H
#define ADIT_HTTP_JUDGE_H

#include "http/head.h"

/**
 * Judges the control data of a request that came by HTTP/2 (RFC 9113 section 8.3.1, RFC 8441 section 4). 0, or
 * ADIT_ERR_BAD_METHOD (unknown, or CONNECT to somewhere else), ADIT_ERR_BAD_REQUEST; `*detail` is then a static line.
 */
int judge_request(const struct head *h, const char **detail);

/**
 * May a connection whose first bytes these are speak HTTP/1? Not when its first line is two words and the beginning of
 * a third, of which the first is no method and the third no "HTTP/": who sent them would not understand an answer.
 */
bool judge_may_be_http(struct str first);

/** Takes out what may not stand in a trailer section (RFC 9110 section 6.5.1), of one that came by HTTP/2. */
void judge_trailers(struct fields *f);

#endif
