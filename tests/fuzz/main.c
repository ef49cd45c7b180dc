/* Gives a fuzz target the files that are named, or all of its corpus: in `make check`, without clang. Each file is
 * given whole and cut short at places spread over it. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

/* Of one file: enough to end most of a corpus file's parts in their middle. */
#define CUTS 32
#define FILE_MAX (1024 * 1024)

static void give(const uint8_t *data, size_t n)
{
	struct fuzz_in in = {data, n};
	uint8_t *copy = fuzz_copy(in);

	LLVMFuzzerTestOneInput(copy, n);
	free(copy);
}

static int give_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(FILE_MAX);
	size_t n = f && data ? fread(data, 1, FILE_MAX, f) : 0;

	if (!f || !data || ferror(f)) {
		fprintf(stderr, "fuzz: found no readable file %s\n", path);
		free(data);
		if (f)
			fclose(f);
		return 1;
	}
	fclose(f);
	/* the name of whatever ends the program badly */
	fprintf(stderr, "%s\n", path);
	give(data, n);
	for (size_t i = 0; i < CUTS && i < n; i++)
		give(data, n * i / CUTS);
	free(data);
	return 0;
}

static int give_folder(const char *folder, size_t *count)
{
	DIR *d = opendir(folder);
	struct dirent *entry;
	int failed = 0;

	if (!d) {
		fprintf(stderr, "fuzz: found no folder %s, wanted a corpus\n", folder);
		return 1;
	}
	while ((entry = readdir(d)) != NULL) {
		char path[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		failed |= give_file(path);
		++*count;
	}
	closedir(d);
	return failed;
}

/* tests/fuzz/h1_fuzz has its corpus in tests/fuzz/corpus/h1. */
static int give_corpus(const char *program)
{
	const char *top = getenv("srcdir"), *name = strrchr(program, '/');
	const char *end;
	char folder[2048], *absolute;
	size_t count = 0;
	int failed;

	name = name ? name + 1 : program;
	end = strstr(name, "_fuzz");
	snprintf(folder, sizeof(folder), "%s/tests/fuzz/corpus/%.*s", top ? top : ".", end ? (int)(end - name) : 0, name);
	/* a target may leave for a folder of its own */
	absolute = realpath(folder, NULL);
	failed = give_folder(absolute ? absolute : folder, &count);
	free(absolute);
	printf("fuzz %.*s: %zu files\n", end ? (int)(end - name) : 0, name, count);
	return failed || !count;
}

int main(int argc, char **argv)
{
	int failed = 0;

	if (argc < 2)
		return give_corpus(argv[0]);
	for (int i = 1; i < argc; i++)
		failed |= give_file(argv[i]);
	return failed;
}
