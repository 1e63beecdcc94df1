/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A main() for fuzz targets that are built without libFuzzer: runs each file of the folders (or
 * each file) named on the command line through the target once.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int run_file(const char *path, unsigned *runs)
{
	uint8_t *data = NULL;
	struct stat st;
	size_t len;
	FILE *f;

	f = fopen(path, "re");
	if (!f || fstat(fileno(f), &st)) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 1;
	}
	/* Exactly as long as the input, so that address checkers see the first byte behind it. */
	data = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!data) {
		fclose(f);
		return 1;
	}
	len = fread(data, 1, (size_t)st.st_size, f);
	fclose(f);
	LLVMFuzzerTestOneInput(data, len);
	free(data);
	(*runs)++;
	return 0;
}

static int run_dir(const char *path, unsigned *runs)
{
	struct dirent **names;
	char *file;
	int num, failed = 0;

	num = scandir(path, &names, NULL, alphasort);
	if (num < 0)
		return run_file(path, runs);
	for (int i = 0; i < num; i++) {
		if (names[i]->d_name[0] != '.' &&
		    asprintf(&file, "%s/%s", path, names[i]->d_name) >= 0) {
			failed |= run_file(file, runs);
			free(file);
		}
		free(names[i]);
	}
	free(names);
	return failed;
}

int main(int argc, char **argv)
{
	unsigned runs = 0;
	int failed = 0;

	for (int i = 1; i < argc; i++)
		failed |= run_dir(argv[i], &runs);
	printf("%u inputs\n", runs);
	return failed || !runs;
}
