#include "session/client_key.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"

#define PATH_LEN 1024

void client_key(const char *state_dir, uint8_t key[16], struct log *log)
{
	char path[PATH_LEN];
	int fd;
	bool ok;

	random_bytes(key, 16);
	if (!state_dir)
		return;
	snprintf(path, sizeof(path), "%s", state_dir);
	for (char *p = path + 1; *p; p++) { /* mkdir -p */
		if (*p != '/')
			continue;
		*p = '\0';
		mkdir(path, 0700);
		*p = '/';
	}
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/client.key", state_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		uint8_t kept[16];

		ok = read(fd, kept, sizeof(kept)) == (ssize_t)sizeof(kept);
		close(fd);
		if (ok)
			memcpy(key, kept, sizeof(kept));
		if (ok)
			return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ok = fd >= 0 && write(fd, key, 16) == 16;
	if (fd >= 0)
		close(fd);
	if (!ok)
		log_event(log, LOG_LEVEL_WARN, "state", KV_Z("file", path),
		          KV_Z("error", "cannot be written: a random name will change at the next start"));
}
