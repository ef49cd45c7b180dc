#include "h1_script.h"
#include "http/h1_int.h"

#define BAD ADIT_ERR_BAD_REQUEST
#define METHOD ADIT_ERR_BAD_METHOD
#define VERSION ADIT_ERR_BAD_VERSION

#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define HOST "Host: a\r\n"
#define END "\r\n"
#define FULL GET HOST
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct h1_bad start_lines[] = {
	{"lone LF first", B("\n" FULL END), BAD},
	{"two empty lines first", B("\r\n\r\n" FULL END), BAD},
	{"CR and no LF first", B("\rGET / HTTP/1.1\r\n" HOST END), BAD},
	{"CR CR LF first", B("\r\r\n" FULL END), BAD},
	{"empty line, then LF", B("\r\n\n" FULL END), BAD},
	{"space first", B(" GET / HTTP/1.1\r\n" HOST END), BAD},
	{"tab first", B("\tGET / HTTP/1.1\r\n" HOST END), BAD},
	{"NUL first", B("\0GET / HTTP/1.1\r\n" HOST END), BAD},
	{"NUL in the method", B("G\0T / HTTP/1.1\r\n" HOST END), BAD},
	{"TLS to a plain port", B("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), BAD},
	{"SSH to a plain port", B("SSH-2.0-OpenSSH_9.2\r\n"), METHOD},
	{"HTTP/2 preface", B("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), METHOD},
	{"PRI as a method of HTTP/1.1", B("PRI / HTTP/1.1\r\n" HOST END), METHOD},
	{"method not known", B("BREW /pot HTTP/1.1\r\n" HOST END), METHOD},
	{"method in lower case", B("get / HTTP/1.1\r\n" HOST END), METHOD},
	{"method in mixed case", B("Get / HTTP/1.1\r\n" HOST END), METHOD},
	{"method with more letters", B("GETS / HTTP/1.1\r\n" HOST END), METHOD},
	{"method cut", B("GE / HTTP/1.1\r\n" HOST END), METHOD},
	{"method of one letter", B("X / HTTP/1.1\r\n" HOST END), METHOD},
	{"method of symbols", B("!#$ / HTTP/1.1\r\n" HOST END), METHOD},
	{"RTSP's DESCRIBE", B("DESCRIBE / HTTP/1.1\r\n" HOST END), METHOD},
	{"RTSP's PLAY in RTSP", B("PLAY rtsp://a/x RTSP/1.0\r\n" END), METHOD},
	{"RTSP's GET_PARAMETER", B("GET_PARAMETER / HTTP/1.1\r\n" HOST END), METHOD},
	{"RTSP's version with GET", B("GET / RTSP/1.0\r\n" HOST END), BAD},
	{"ICE's version with SOURCE", B("SOURCE /x ICE/1.0\r\n" HOST END), BAD},
	{"method with a byte that no token has", B("GET(/ HTTP/1.1\r\n" HOST END), BAD},
	{"method with obs-text", B("G\xc3\x89T / HTTP/1.1\r\n" HOST END), BAD},
	{"no method", B("/ HTTP/1.1\r\n" HOST END), BAD},
	{"tab after the method", B("GET\t/ HTTP/1.1\r\n" HOST END), BAD},
	{"two spaces after the method", B("GET  / HTTP/1.1\r\n" HOST END), BAD},
	{"nothing but the method", B("GET\r\n" HOST END), BAD},
	{"no target", B("GET  HTTP/1.1\r\n" HOST END), BAD},
	{"no version (HTTP/0.9)", B("GET /\r\n"), BAD},
	{"no version, fields follow", B("GET /\r\n" HOST END), BAD},
	{"no version but the space", B("GET / \r\n" HOST END), BAD},
	{"HTTP/0.9 said", B("GET / HTTP/0.9\r\n" HOST END), VERSION},
	{"HTTP/1.2", B("GET / HTTP/1.2\r\n" HOST END), VERSION},
	{"HTTP/2.0", B("GET / HTTP/2.0\r\n" HOST END), VERSION},
	{"HTTP/3.0", B("GET / HTTP/3.0\r\n" HOST END), VERSION},
	{"HTTP/9.9", B("GET / HTTP/9.9\r\n" HOST END), VERSION},
	{"HTTP/2", B("GET / HTTP/2\r\n" HOST END), BAD},
	{"HTTP/1.", B("GET / HTTP/1.\r\n" HOST END), BAD},
	{"HTTP/1.10", B("GET / HTTP/1.10\r\n" HOST END), BAD},
	{"HTTP/11.1", B("GET / HTTP/11.1\r\n" HOST END), BAD},
	{"HTTP/01.1", B("GET / HTTP/01.1\r\n" HOST END), BAD},
	{"HTTP/x.y", B("GET / HTTP/x.y\r\n" HOST END), BAD},
	{"HTTP/-1.1", B("GET / HTTP/-1.1\r\n" HOST END), BAD},
	{"HTTP/1,1", B("GET / HTTP/1,1\r\n" HOST END), BAD},
	{"http/1.1", B("GET / http/1.1\r\n" HOST END), BAD},
	{"HTTPS/1.1", B("GET / HTTPS/1.1\r\n" HOST END), BAD},
	{"HTTP 1.1", B("GET / HTTP 1.1\r\n" HOST END), BAD},
	{"HTTP/1.1 and a space", B("GET / HTTP/1.1 \r\n" HOST END), BAD},
	{"HTTP/1.1 and more", B("GET / HTTP/1.1 x\r\n" HOST END), BAD},
	{"HTTP/1.1 and a tab", B("GET / HTTP/1.1\t\r\n" HOST END), BAD},
	{"version twice", B("GET / HTTP/1.1 HTTP/1.1\r\n" HOST END), BAD},
	{"two spaces before the version", B("GET /  HTTP/1.1\r\n" HOST END), BAD},
	{"tab before the version", B("GET /\tHTTP/1.1\r\n" HOST END), BAD},
	{"LF ends the request line", B("GET / HTTP/1.1\n" HOST END), BAD},
	{"CR ends the request line", B("GET / HTTP/1.1\r" HOST END), BAD},
	{"CR CR LF ends the request line", B("GET / HTTP/1.1\r\r\n" HOST END), BAD},
	{"LF ends the line of HTTP/0.9", B("GET /\n" HOST END), BAD},
};

static const struct h1_bad targets[] = {
	{"path without a slash", B("GET x HTTP/1.1\r\n" HOST END), BAD},
	{"query only", B("GET ?x HTTP/1.1\r\n" HOST END), BAD},
	{"fragment", B("GET /x#y HTTP/1.1\r\n" HOST END), BAD},
	{"fragment only", B("GET #y HTTP/1.1\r\n" HOST END), BAD},
	{"fragment after a query", B("GET /x?a#y HTTP/1.1\r\n" HOST END), BAD},
	{"space in the path", B("GET /a b HTTP/1.1\r\n" HOST END), BAD},
	{"tab in the path", B("GET /a\tb HTTP/1.1\r\n" HOST END), BAD},
	{"NUL in the path", B("GET /a\0b HTTP/1.1\r\n" HOST END), BAD},
	{"CR in the path", B("GET /a\rb HTTP/1.1\r\n" HOST END), BAD},
	{"LF in the path", B("GET /a\nb HTTP/1.1\r\n" HOST END), BAD},
	{"control byte in the path", B("GET /a\x01 HTTP/1.1\r\n" HOST END), BAD},
	{"DEL in the path", B("GET /a\x7f HTTP/1.1\r\n" HOST END), BAD},
	{"UTF-8 in the path", B("GET /\xc3\xa9 HTTP/1.1\r\n" HOST END), BAD},
	{"UTF-8 in the query", B("GET /?\xc3\xa9 HTTP/1.1\r\n" HOST END), BAD},
	{"form feed in the path", B("GET /a\x0c HTTP/1.1\r\n" HOST END), BAD},
	{"* with GET", B("GET * HTTP/1.1\r\n" HOST END), BAD},
	{"* and more", B("OPTIONS *x HTTP/1.1\r\n" HOST END), BAD},
	{"** with OPTIONS", B("OPTIONS ** HTTP/1.1\r\n" HOST END), BAD},
	{"scheme that is not HTTP", B("GET ftp://a/ HTTP/1.1\r\n" HOST END), BAD},
	{"scheme file", B("GET file:///etc/passwd HTTP/1.1\r\n" HOST END), BAD},
	{"scheme ws", B("GET ws://a/ HTTP/1.1\r\n" HOST END), BAD},
	{"scheme with one slash", B("GET http:/a/ HTTP/1.1\r\n" HOST END), BAD},
	{"scheme without slashes", B("GET http:a HTTP/1.1\r\n" HOST END), BAD},
	{"absolute-form without authority", B("GET http:/// HTTP/1.1\r\n" HOST END), BAD},
	{"absolute-form with userinfo", B("GET http://u@a/ HTTP/1.1\r\n" HOST END), BAD},
	{"absolute-form with user and password", B("GET http://u:p@a/ HTTP/1.1\r\n" HOST END), BAD},
	{"absolute-form with an empty port", B("GET http://a:/ HTTP/1.1\r\nHost: a:\r\n" END), BAD},
	{"absolute-form with a port of letters", B("GET http://a:x/ HTTP/1.1\r\nHost: a:x\r\n" END), BAD},
	{"absolute-form with a fragment", B("GET http://a/#f HTTP/1.1\r\n" HOST END), BAD},
	{"absolute-form with a fragment at once", B("GET http://a#f HTTP/1.1\r\n" HOST END), BAD},
	{"absolute-form for another Host", B("GET http://b/ HTTP/1.1\r\n" HOST END), BAD},
	{"absolute-form with a port that Host lacks", B("GET http://a:80/ HTTP/1.1\r\n" HOST END), BAD},
	{"absolute-form without a port that Host has", B("GET http://a/ HTTP/1.1\r\nHost: a:80\r\n" END), BAD},
	{"absolute-form without Host", B("GET http://a/ HTTP/1.1\r\n" END), BAD},
	{"backslash in the authority", B("GET http://a\\b/ HTTP/1.1\r\n" HOST END), BAD},
	{"authority-form with GET", B("GET a:80 HTTP/1.1\r\nHost: a:80\r\n" END), BAD},
	{"CONNECT without a port", B("CONNECT a HTTP/1.1\r\n" HOST END), BAD},
	{"CONNECT with an empty port", B("CONNECT a: HTTP/1.1\r\nHost: a:\r\n" END), BAD},
	{"CONNECT with a path", B("CONNECT /x HTTP/1.1\r\n" HOST END), BAD},
	{"CONNECT in absolute-form", B("CONNECT http://a:80/ HTTP/1.1\r\nHost: a:80\r\n" END), BAD},
	{"CONNECT with *", B("CONNECT * HTTP/1.1\r\n" HOST END), BAD},
	{"CONNECT with userinfo", B("CONNECT u@a:80 HTTP/1.1\r\nHost: u@a:80\r\n" END), BAD},
	{"CONNECT to an IPv6 address without a port", B("CONNECT [::1] HTTP/1.1\r\nHost: [::1]\r\n" END), BAD},
	{"CONNECT for another Host", B("CONNECT a:80 HTTP/1.1\r\nHost: b:80\r\n" END), BAD},
	{"CONNECT with a length", B("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n" END "abc"), BAD},
	{"CONNECT with chunks", B("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\n" END), BAD},
};

static const struct h1_bad hosts[] = {
	{"no Host", B(GET END), BAD},
	{"no Host among others", B(GET "Accept: */*\r\n" END), BAD},
	{"empty Host", B(GET "Host:\r\n" END), BAD},
	{"Host of spaces", B(GET "Host:   \r\n" END), BAD},
	{"Host twice", B(GET HOST "Host: b\r\n" END), BAD},
	{"Host twice, the same", B(GET HOST HOST END), BAD},
	{"Host twice, in HTTP/1.0", B("GET / HTTP/1.0\r\n" HOST HOST END), BAD},
	{"Host a list", B(GET "Host: a,b\r\n" END), BAD},
	{"space in Host", B(GET "Host: a b\r\n" END), BAD},
	{"userinfo in Host", B(GET "Host: u@a\r\n" END), BAD},
	{"path in Host", B(GET "Host: a/b\r\n" END), BAD},
	{"query in Host", B(GET "Host: a?b\r\n" END), BAD},
	{"fragment in Host", B(GET "Host: a#b\r\n" END), BAD},
	{"percent in Host", B(GET "Host: a%20b\r\n" END), BAD},
	{"quote in Host", B(GET "Host: \"a\"\r\n" END), BAD},
	{"semicolon in Host", B(GET "Host: a;b\r\n" END), BAD},
	{"UTF-8 in Host", B(GET "Host: \xc3\xa9\r\n" END), BAD},
	{"NUL in Host", B(GET "Host: a\0b\r\n" END), BAD},
	{"scheme in Host", B(GET "Host: http://a\r\n" END), BAD},
	{"Host of a port alone", B(GET "Host: :80\r\n" END), BAD},
	{"empty port in Host", B(GET "Host: a:\r\n" END), BAD},
	{"port 0", B(GET "Host: a:0\r\n" END), BAD},
	{"port too large", B(GET "Host: a:65536\r\n" END), BAD},
	{"port of six digits", B(GET "Host: a:000080\r\n" END), BAD},
	{"port with a sign", B(GET "Host: a:+80\r\n" END), BAD},
	{"port twice", B(GET "Host: a:80:80\r\n" END), BAD},
	{"Host that begins with a dot", B(GET "Host: .a\r\n" END), BAD},
	{"IPv6 without brackets", B(GET "Host: ::1\r\n" END), BAD},
	{"bracket not closed", B(GET "Host: [::1\r\n" END), BAD},
	{"bytes after the bracket", B(GET "Host: [::1]x\r\n" END), BAD},
	{"nothing in brackets", B(GET "Host: []\r\n" END), BAD},
	{"a name in brackets", B(GET "Host: [a]\r\n" END), BAD},
	{"a zone in brackets", B(GET "Host: [fe80::1%25eth0]\r\n" END), BAD},
	{"Host of HTTP/1.0 not well-formed", B("GET / HTTP/1.0\r\nHost: a b\r\n" END), BAD},
};

static const struct h1_bad fields[] = {
	{"space before the colon", B(FULL "X : y\r\n" END), BAD},
	{"tab before the colon", B(FULL "X\t: y\r\n" END), BAD},
	{"space before the colon of Host", B(GET "Host : a\r\n" END), BAD},
	{"space before the colon of Content-Length", B(POST "Content-Length : 3\r\n" END "abc"), BAD},
	{"tab before the colon of Content-Length", B(POST "Content-Length\t: 3\r\n" END "abc"), BAD},
	{"space before the colon of Transfer-Encoding",
	 B(POST "Transfer-Encoding : chunked\r\n" END "0\r\n\r\n"), BAD},
	{"space before the colon of Connection", B(FULL "Connection : close\r\n" END), BAD},
	{"space before the colon of Upgrade", B(FULL "Upgrade : x\r\n" END), BAD},
	{"space in a name", B(FULL "X Y: z\r\n" END), BAD},
	{"empty name", B(FULL ": x\r\n" END), BAD},
	{"empty name and value", B(FULL ":\r\n" END), BAD},
	{"no colon", B(FULL "Nonsense\r\n" END), BAD},
	{"no colon in the first field", B(GET "Nonsense\r\n" HOST END), BAD},
	{"parenthesis in a name", B(FULL "X(): y\r\n" END), BAD},
	{"quote in a name", B(FULL "\"X\": y\r\n" END), BAD},
	{"slash in a name", B(FULL "X/Y: y\r\n" END), BAD},
	{"at sign in a name", B(FULL "X@Y: y\r\n" END), BAD},
	{"UTF-8 in a name", B(FULL "X\xc3\xa9: y\r\n" END), BAD},
	{"NUL in a name", B(FULL "X\0Y: y\r\n" END), BAD},
	{"DEL in a name", B(FULL "X\x7f: y\r\n" END), BAD},
	{"CR in a name", B(FULL "X\rY: y\r\n" END), BAD},
	{"obs-fold by a space", B(FULL "X: y\r\n z\r\n" END), BAD},
	{"obs-fold by a tab", B(FULL "X: y\r\n\tz\r\n" END), BAD},
	{"obs-fold of an empty value", B(FULL "X:\r\n z\r\n" END), BAD},
	{"obs-fold at once", B(GET " Host: a\r\n" END), BAD},
	{"obs-fold of Transfer-Encoding", B(POST "Transfer-Encoding:\r\n chunked\r\n" END "0\r\n\r\n"), BAD},
	{"obs-fold of Content-Length", B(POST "Content-Length:\r\n 3\r\n" END "abc"), BAD},
	{"obs-fold before the empty line", B(FULL "X: y\r\n \r\n" END), BAD},
	{"LF ends a field", B(FULL "X: y\n" END), BAD},
	{"LF ends an empty field", B(FULL "X:\n" END), BAD},
	{"LF ends Host", B(GET "Host: a\n" END), BAD},
	{"LF ends the head", B(FULL "\n"), BAD},
	{"LF LF ends the head", B(GET "Host: a\n\n"), BAD},
	{"LF in a value hides a field", B(FULL "X: y\nTransfer-Encoding: chunked\r\n" END), BAD},
	{"CR ends a field", B(FULL "X: y\rZ: z\r\n" END), BAD},
	{"CR at a value's end", B(FULL "X: y\r\r\n" END), BAD},
	{"CR at a value's start", B(FULL "X: \ry\r\n" END), BAD},
	{"CR CR LF ends the head", B(FULL "\r\r\n"), BAD},
	{"CR and another byte end the head", B(FULL "\rX"), BAD},
	{"CR before Content-Length", B(POST "X: y\rContent-Length: 3\r\n" END "abc"), BAD},
	{"NUL in a value", B(FULL "X: a\0b\r\n" END), BAD},
	{"NUL alone", B(FULL "X: \0\r\n" END), BAD},
	{"SOH in a value", B(FULL "X: a\x01\r\n" END), BAD},
	{"BS in a value", B(FULL "X: a\x08\r\n" END), BAD},
	{"VT in a value", B(FULL "X: a\x0b" "b\r\n" END), BAD},
	{"FF in a value", B(FULL "X: a\x0c" "b\r\n" END), BAD},
	{"ESC in a value", B(FULL "X: \x1b[2J\r\n" END), BAD},
	{"US in a value", B(FULL "X: a\x1f" "b\r\n" END), BAD},
	{"DEL in a value", B(FULL "X: a\x7f" "b\r\n" END), BAD},
	{"NUL in Connection", B(FULL "Connection: clo\0se\r\n" END), BAD},
	{"NUL in Upgrade", B(FULL "Upgrade: x\0y\r\n" END), BAD},
	{"control byte far into a value", B(FULL "X: 0123456789012345678901234567890123456789\x02\r\n" END), BAD},
	{"too many options in Connection",
	 B(FULL "Connection: a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a\r\n"
	   "Connection: a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a\r\n" END), BAD},
};

static const struct h1_bad framing[] = {
	{"length and chunks", B(POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" END "0\r\n\r\n"), BAD},
	{"chunks and length", B(POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n" END "0\r\n\r\n"), BAD},
	{"chunks and the length 0",
	 B(POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n" END "0\r\n\r\n"), BAD},
	{"length twice", B(POST "Content-Length: 3\r\nContent-Length: 4\r\n" END "abcd"), BAD},
	{"length twice, the same", B(POST "Content-Length: 3\r\nContent-Length: 3\r\n" END "abc"), BAD},
	{"length twice, 0", B(FULL "Content-Length: 0\r\nContent-Length: 0\r\n" END), BAD},
	{"length a list", B(POST "Content-Length: 3, 3\r\n" END "abc"), BAD},
	{"length a list without space", B(POST "Content-Length: 3,4\r\n" END "abc"), BAD},
	{"length empty", B(POST "Content-Length:\r\n" END), BAD},
	{"length of spaces", B(POST "Content-Length:  \r\n" END), BAD},
	{"length with plus", B(POST "Content-Length: +3\r\n" END "abc"), BAD},
	{"length with minus", B(POST "Content-Length: -3\r\n" END "abc"), BAD},
	{"length -0", B(FULL "Content-Length: -0\r\n" END), BAD},
	{"length in hex", B(POST "Content-Length: 0x3\r\n" END "abc"), BAD},
	{"length in letters", B(POST "Content-Length: abc\r\n" END), BAD},
	{"length with a fraction", B(POST "Content-Length: 3.0\r\n" END "abc"), BAD},
	{"length with an exponent", B(POST "Content-Length: 1e1\r\n" END "abc"), BAD},
	{"length with a space inside", B(POST "Content-Length: 1 0\r\n" END "abc"), BAD},
	{"length with an underscore", B(POST "Content-Length: 1_0\r\n" END "abc"), BAD},
	{"length in quotes", B(POST "Content-Length: \"3\"\r\n" END "abc"), BAD},
	{"length past 63 bits", B(POST "Content-Length: 9223372036854775808\r\n" END), BAD},
	{"length past 64 bits", B(POST "Content-Length: 18446744073709551616\r\n" END), BAD},
	{"length of 30 digits", B(POST "Content-Length: 100000000000000000000000000003\r\n" END), BAD},
	{"coding gzip", B(POST "Transfer-Encoding: gzip\r\n" END), BAD},
	{"coding identity", B(POST "Transfer-Encoding: identity\r\n" END), BAD},
	{"coding identity and length", B(POST "Transfer-Encoding: identity\r\nContent-Length: 3\r\n" END "abc"), BAD},
	{"coding gzip, chunked", B(POST "Transfer-Encoding: gzip, chunked\r\n" END "0\r\n\r\n"), BAD},
	{"coding chunked, gzip", B(POST "Transfer-Encoding: chunked, gzip\r\n" END "0\r\n\r\n"), BAD},
	{"coding chunked, identity", B(POST "Transfer-Encoding: chunked, identity\r\n" END "0\r\n\r\n"), BAD},
	{"coding chunked, chunked", B(POST "Transfer-Encoding: chunked, chunked\r\n" END "0\r\n\r\n"), BAD},
	{"coding chunked and a comma", B(POST "Transfer-Encoding: chunked,\r\n" END "0\r\n\r\n"), BAD},
	{"a comma and coding chunked", B(POST "Transfer-Encoding: ,chunked\r\n" END "0\r\n\r\n"), BAD},
	{"coding with a parameter", B(POST "Transfer-Encoding: chunked;q=1\r\n" END "0\r\n\r\n"), BAD},
	{"coding in quotes", B(POST "Transfer-Encoding: \"chunked\"\r\n" END "0\r\n\r\n"), BAD},
	{"coding xchunked", B(POST "Transfer-Encoding: xchunked\r\n" END "0\r\n\r\n"), BAD},
	{"coding chunkedx", B(POST "Transfer-Encoding: chunkedx\r\n" END "0\r\n\r\n"), BAD},
	{"coding cow", B(POST "Transfer-Encoding: cow\r\n" END), BAD},
	{"coding empty", B(POST "Transfer-Encoding:\r\n" END), BAD},
	{"coding after VT", B(POST "Transfer-Encoding: \x0b" "chunked\r\n" END "0\r\n\r\n"), BAD},
	{"coding after NUL", B(POST "Transfer-Encoding: \0chunked\r\n" END "0\r\n\r\n"), BAD},
	{"coding chunked twice",
	 B(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END "0\r\n\r\n"), BAD},
	{"coding gzip, then chunked", B(POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n" END), BAD},
	{"coding chunked, then identity",
	 B(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" END), BAD},
	{"chunks in HTTP/1.0", B("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" END "0\r\n\r\n"), BAD},
	{"length and chunks in HTTP/1.0",
	 B("POST / HTTP/1.0\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n" END "0\r\n\r\n"), BAD},
};

static const struct h1_bad chunks[] = {
	{"no chunk size", B(CHUNKED "\r\nabc\r\n0\r\n\r\n"), BAD},
	{"chunk size not hex", B(CHUNKED "g\r\n"), BAD},
	{"chunk size with 0x", B(CHUNKED "0x3\r\nabc\r\n0\r\n\r\n"), BAD},
	{"chunk size with plus", B(CHUNKED "+3\r\nabc\r\n0\r\n\r\n"), BAD},
	{"chunk size with minus", B(CHUNKED "-3\r\nabc\r\n0\r\n\r\n"), BAD},
	{"space before the chunk size", B(CHUNKED " 3\r\nabc\r\n0\r\n\r\n"), BAD},
	{"space after the chunk size", B(CHUNKED "3 \r\nabc\r\n0\r\n\r\n"), BAD},
	{"space before an extension", B(CHUNKED "3 ;x\r\nabc\r\n0\r\n\r\n"), BAD},
	{"tab after the chunk size", B(CHUNKED "3\t\r\nabc\r\n0\r\n\r\n"), BAD},
	{"underscore in the chunk size", B(CHUNKED "0_3\r\nabc\r\n0\r\n\r\n"), BAD},
	{"chunk size past 63 bits", B(CHUNKED "8000000000000000\r\n"), BAD},
	{"chunk size past 64 bits", B(CHUNKED "10000000000000003\r\nabc\r\n0\r\n\r\n"), BAD},
	{"chunk size of 17 digits", B(CHUNKED "00000000000000003\r\nabc\r\n0\r\n\r\n"), BAD},
	{"extension without a size", B(CHUNKED ";x\r\n"), BAD},
	{"LF ends the chunk size", B(CHUNKED "3\nabc\r\n0\r\n\r\n"), BAD},
	{"CR ends the chunk size", B(CHUNKED "3\rabc\r\n0\r\n\r\n"), BAD},
	{"CR CR LF ends the chunk size", B(CHUNKED "3\r\r\nabc\r\n0\r\n\r\n"), BAD},
	{"LF ends an extension", B(CHUNKED "3;x\nabc\r\n0\r\n\r\n"), BAD},
	{"CR in an extension", B(CHUNKED "3;x\ry\r\nabc\r\n0\r\n\r\n"), BAD},
	{"LF in a quoted extension", B(CHUNKED "3;x=\"\n\"\r\nabc\r\n0\r\n\r\n"), BAD},
	{"NUL in an extension", B(CHUNKED "3;x\0\r\nabc\r\n0\r\n\r\n"), BAD},
	{"two sizes in a line", B(CHUNKED "3,3\r\nabc\r\n0\r\n\r\n"), BAD},
	{"DEL in an extension", B(CHUNKED "3;x\x7f\r\nabc\r\n0\r\n\r\n"), BAD},
	{"chunk data too long", B(CHUNKED "3\r\nabcd\r\n0\r\n\r\n"), BAD},
	{"chunk data too short", B(CHUNKED "3\r\nab\r\n0\r\n\r\n"), BAD},
	{"LF after the chunk data", B(CHUNKED "3\r\nabc\n0\r\n\r\n"), BAD},
	{"CR after the chunk data", B(CHUNKED "3\r\nabc\r0\r\n\r\n"), BAD},
	{"two CRLF after the chunk data", B(CHUNKED "3\r\nabc\r\n\r\n0\r\n\r\n"), BAD},
	{"LF after the last chunk's size", B(CHUNKED "0\n\r\n"), BAD},
	{"LF ends the trailers", B(CHUNKED "0\r\n\n"), BAD},
	{"LF ends a trailer", B(CHUNKED "0\r\nX: y\n\r\n"), BAD},
	{"CR in a trailer", B(CHUNKED "0\r\nX: y\rz\r\n\r\n"), BAD},
	{"obs-fold in a trailer", B(CHUNKED "0\r\nX: y\r\n z\r\n\r\n"), BAD},
	{"obs-fold for the first trailer", B(CHUNKED "0\r\n X: y\r\n\r\n"), BAD},
	{"space before a trailer's colon", B(CHUNKED "0\r\nX : y\r\n\r\n"), BAD},
	{"trailer without a colon", B(CHUNKED "0\r\nnonsense\r\n\r\n"), BAD},
	{"trailer without a name", B(CHUNKED "0\r\n: y\r\n\r\n"), BAD},
	{"NUL in a trailer", B(CHUNKED "0\r\nX: \0\r\n\r\n"), BAD},
	{"another request for trailers", B(CHUNKED "0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), BAD},
};

static void bad_start_lines(void)
{
	run_bad(H1_REQUEST, start_lines, COUNT(start_lines));
}

static void bad_targets(void)
{
	run_bad(H1_REQUEST, targets, COUNT(targets));
}

static void bad_hosts(void)
{
	run_bad(H1_REQUEST, hosts, COUNT(hosts));
}

static void bad_fields(void)
{
	run_bad(H1_REQUEST, fields, COUNT(fields));
}

static void bad_framing(void)
{
	run_bad(H1_REQUEST, framing, COUNT(framing));
}

static void bad_chunks(void)
{
	run_bad(H1_REQUEST, chunks, COUNT(chunks));
}

/* Chunks of a byte whose extensions weigh 100: 8 KiB are free, then 16 bytes for each of the body. */
static void extensions_are_weighed(void)
{
	static struct h1_told t;
	static char in[32768];

	for (unsigned count = 70; count < 100; count++)
		for (unsigned size = 1; size < 0x40; size += 0x3e) {
			struct h1_script s = {.kind = H1_REQUEST};
			int n = snprintf(in, sizeof(in), CHUNKED);
			bool ok = (100 * (int)count - 8192) / 16 <= (int)(size * count);

			for (unsigned i = 0; i < count; i++)
				n += snprintf(in + n, sizeof(in) - (size_t)n, "%x;%099d\r\n%0*d\r\n", size, 0, (int)size, 0);
			n += snprintf(in + n, sizeof(in) - (size_t)n, "0\r\n\r\n");
			CU_ASSERT_FATAL(n < (int)sizeof(in));
			s.in = (struct str){in, (size_t)n};
			run_cut(&s, &t, s.in.n, s.in.n, 0);
			CU_ASSERT_EQUAL(t.err, ok ? 0 : BAD);
			run_cut(&s, &t, 1, 1, 0);
			CU_ASSERT_EQUAL(t.err, ok ? 0 : BAD);
		}
}

/* Every byte in every kind of value: only visible ones, SP, HTAB and obs-text pass. */
static void every_byte_in_values(void)
{
	static const char *const names[] = {"X", "Connection", "Upgrade", "Content-Type", "Cookie", "Keep-Alive"};
	static struct h1_told t;
	char in[128];

	for (size_t k = 0; k < COUNT(names); k++)
		for (int c = 0; c < 256; c++) {
			int n = snprintf(in, sizeof(in), FULL "%s: ab?cdefghi\r\n\r\n", names[k]);
			struct h1_script s = {.kind = H1_REQUEST, .in = {in, (size_t)n}};
			bool ok = c == '\t' || (c >= 0x20 && c != 0x7f);

			*strchr(in, '?') = (char)c;
			run_cut(&s, &t, s.in.n, s.in.n, 0);
			if ((t.err == 0) != ok)
				printf("\n    byte %d in %s: %s\n", c, names[k], err_name(t.err));
			CU_ASSERT((t.err == 0) == ok && (ok || t.err == BAD));
		}
}

static void every_byte_in_names(void)
{
	static struct h1_told t;
	char in[128];

	for (int c = 0; c < 256; c++) {
		int n = snprintf(in, sizeof(in), FULL "a?b: c\r\n\r\n");
		struct h1_script s = {.kind = H1_REQUEST, .in = {in, (size_t)n}};
		bool ok = c == ':' || (c &&
			strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", c));

		*strchr(in, '?') = (char)c;
		run_cut(&s, &t, s.in.n, s.in.n, 0);
		CU_ASSERT((t.err == 0) == ok && (ok || t.err == BAD));
	}
}

/* They look at eight bytes at once: each byte, at each place of texts of each length, among such as pass. */
static void words_and_rests(void)
{
	char text[20];

	for (size_t n = 1; n <= sizeof(text); n++) {
		for (size_t at = 0; at < n; at++) {
			for (int c = 0; c < 256; c++) {
				struct str s = {text, n};
				bool control = (c < 0x20 && c != '\t') || c == 0x7f;

				memset(text, 'a', n);
				text[at] = (char)c;
				CU_ASSERT_FATAL(h1_is_token(s) == h1_is_tchar((char)c));
				CU_ASSERT_FATAL(h1_control(text, n) == (control ? at : n));
				text[0] = '\t'; /* which is looked at byte by byte */
				control = control && at;
				CU_ASSERT_FATAL(h1_control(text, n) == (control ? at : n));
			}
		}
	}
}

/* And each pair of neighbours, among letters and among "-": what is reckoned for one byte must not touch the next. */
static void pairs_in_words(void)
{
	static const char fills[] = "a-";
	char text[11];

	for (size_t f = 0; f < 2; f++) {
		for (size_t at = 0; at + 1 < sizeof(text); at++) {
			for (int pair = 0; pair < 1 << 16; pair++) {
				int c = pair >> 8, d = pair & 0xff;
				bool first = (c < 0x20 && c != '\t') || c == 0x7f, second = (d < 0x20 && d != '\t') || d == 0x7f;
				size_t control = first ? at : second ? at + 1 : sizeof(text);

				memset(text, fills[f], sizeof(text));
				text[at] = (char)c;
				text[at + 1] = (char)d;
				if (h1_is_token((struct str){text, sizeof(text)}) != (h1_is_tchar((char)c) && h1_is_tchar((char)d)) ||
				    h1_control(text, sizeof(text)) != control)
					CU_FAIL_FATAL("a pair of bytes is judged otherwise than its bytes");
			}
		}
	}
}

static const struct unit_test tests[] = {
	{"malformed start lines are refused, however they are cut", bad_start_lines},
	{"targets of the wrong form are refused", bad_targets},
	{"a Host that is missing, doubled or malformed is refused", bad_hosts},
	{"malformed fields, folded lines and wrong line ends are refused", bad_fields},
	{"framing that two parsers could read differently is refused", bad_framing},
	{"malformed chunks and trailers are refused", bad_chunks},
	{"chunk extensions are weighed against the chunks", extensions_are_weighed},
	{"no control byte but the tab passes in a value of any kind", every_byte_in_values},
	{"names and texts are judged alike at every place of a word", words_and_rests},
	{"and no byte changes how its neighbour is judged", pairs_in_words},
	{"nothing but token bytes passes in a name", every_byte_in_names},
};

UNIT_MAIN("h1_refuse", tests)
