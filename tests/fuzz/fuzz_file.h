/* fuzz_file: input as files in a folder of its own, for targets whose reader opens files. For fuzz targets.
 * That folder is the working one from then on: whoever runs such a target names its corpus by an absolute path.
 */
#ifndef ADIT_TESTS_FUZZ_FILE_H
#define ADIT_TESTS_FUZZ_FILE_H

#include <fcntl.h>
#include <unistd.h>

#include "fuzz.h"

/** The names that targets write; removed when the process ends. */
#define FUZZ_FILES "a", "a.1", "b", "aditd.yaml", "adit.yaml", "cert.pem", "key.pem", "token"

static char fuzz_folder[32];

static inline void fuzz_folder_remove(void)
{
	static const char *const names[] = {FUZZ_FILES};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(names[i]);
	if (chdir("/") == 0)
		rmdir(fuzz_folder);
}

/** Makes a fresh folder the working one, the first time: true. */
static inline bool fuzz_folder_enter(void)
{
	if (*fuzz_folder)
		return false;
	strcpy(fuzz_folder, "/tmp/adit-fuzz-XXXXXX");
	REQUIRE(mkdtemp(fuzz_folder) && chdir(fuzz_folder) == 0);
	REQUIRE(atexit(fuzz_folder_remove) == 0);
	return true;
}

static inline void fuzz_file(const char *name, struct fuzz_in in)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	REQUIRE(fd >= 0 && write(fd, in.p, in.n) == (ssize_t)in.n && close(fd) == 0);
}

#endif
