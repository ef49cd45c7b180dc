#include "edge/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/err.h"
#include "io/tls.h"

#define PATH_LEN 512
/** Of the ports that its token may publish: those below are for root only. */
#define FIRST_PORT 1024
#define CERTIFICATE_NAMES "localhost,adit.localhost,*.adit.localhost,127.0.0.1,::1"

static int fail(struct conf_error *e, const char *what, const char *path)
{
	snprintf(e->text, sizeof(e->text), "aditd --dev: %s %.300s: %s", what, path, strerror(errno));
	return ADIT_ERR_SYS;
}

static int make_folder(struct conf_server *c, struct conf_error *e)
{
	const char *base = getenv("XDG_RUNTIME_DIR");
	char path[PATH_LEN];

	if (c->dev_dir)
		return mkdir(c->dev_dir, 0700) < 0 && errno != EEXIST ? fail(e, "cannot make the folder", c->dev_dir) : 0;
	snprintf(path, sizeof(path), "%s/aditd-dev-XXXXXX", base && *base && access(base, W_OK) == 0 ? base : "/tmp");
	if (!mkdtemp(path))
		return fail(e, "cannot make the folder", path);
	c->dev_dir = strdup(path);
	return c->dev_dir ? 0 : ADIT_ERR_NOMEM;
}

static char *path_of(const struct conf_server *c, const char *file)
{
	char path[PATH_LEN];

	snprintf(path, sizeof(path), "%s/%s", c->dev_dir, file);
	return strdup(path);
}

static int write_token(const char *path, const char *token, struct conf_error *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t n = strlen(token);
	bool ok;

	if (fd < 0)
		return fail(e, "cannot write", path);
	ok = write(fd, token, n) == (ssize_t)n && write(fd, "\n", 1) == 1;
	close(fd);
	return ok ? 0 : fail(e, "cannot write", path);
}

static int add_token(struct conf_server *c, struct conf_error *e)
{
	uint8_t secret[32];
	char token[80] = "adit_";
	struct conf_token *t = calloc(1, sizeof(*t));
	struct conf_ports *ports = calloc(1, sizeof(*ports));
	char **names = calloc(1, sizeof(*names)), *path = path_of(c, "token");
	int err = t && ports && names && path ? 0 : ADIT_ERR_NOMEM;

	random_bytes(secret, sizeof(secret));
	hex_encode(secret, sizeof(secret), token + 5);
	if (!err)
		err = digest_sha256(token, strlen(token), t->sha256);
	if (!err)
		err = write_token(path, token, e);
	secret_wipe(secret, sizeof(secret));
	secret_wipe(token, sizeof(token));
	free(path);
	if (err) {
		free(t);
		free(ports);
		free(names);
		return err;
	}
	t->name = strdup("dev");
	t->ports = ports;
	t->names = names;
	t->names[0] = strdup("*");
	t->name_count = 1;
	t->ports[0] = (struct conf_ports){FIRST_PORT, UINT16_MAX};
	t->port_count = 1;
	c->tokens = t;
	c->token_count = 1;
	return t->name && names[0] ? 0 : ADIT_ERR_NOMEM;
}

static int add_listener(struct conf_server *c, struct conf_error *e)
{
	struct conf_listen *l = calloc(1, sizeof(*l));
	struct tls_error te;

	if (!l)
		return ADIT_ERR_NOMEM;
	c->listen = l;
	c->listen_count = 1;
	l->address = strdup(c->dev_address);
	l->tls = true;
	l->certificate = path_of(c, "server.pem");
	l->key = path_of(c, "server.key");
	if (!l->address || !l->certificate || !l->key)
		return ADIT_ERR_NOMEM;
	if (tls_make_dev_certificate(c->dev_dir, CERTIFICATE_NAMES, &te) < 0) {
		snprintf(e->text, sizeof(e->text), "aditd --dev: %s", te.text);
		return ADIT_ERR_SYS;
	}
	return 0;
}

int dev_prepare(struct conf_server *c, struct conf_error *e)
{
	int err;

	snprintf(e->text, sizeof(e->text), "aditd --dev: out of memory");
	err = make_folder(c, e);
	if (!err)
		err = add_token(c, e);
	if (!err)
		err = add_listener(c, e);
	return err;
}

void dev_announce(const struct conf_server *c, const char *address)
{
	const char *port = strrchr(address, ':');

	printf("adit http 3000 --server https://localhost%s --ca %s/ca.pem --token-file %s/token\n", port ? port : "",
	       c->dev_dir, c->dev_dir);
	fflush(stdout);
}
