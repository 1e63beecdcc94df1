/* SPDX-License-Identifier: BSD-2-Clause */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "command/line.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Reads a physical line, and those that continue it, into line->text.  1, 0 at the end, -errno. */
static int read_text(struct line *line, FILE *file, struct vdpa_extack *ack)
{
	char *part vdpa_cleanup(freep) = NULL, *more;
	size_t room = 0, have = 0, len;
	bool goes_on = true;
	ssize_t got;

	line->number = line->next + 1;
	while (goes_on) {
		got = getline(&part, &room, file);
		if (got < 0)
			break;
		len = (size_t)got;
		line->next++;
		if (memchr(part, '\0', len))
			return vdpa_extack_set(ack, -EINVAL, "a NUL byte in the text");
		if (have + len > LINE_LEN_MAX)
			return vdpa_extack_set(ack, -EINVAL, "the line is longer than %d bytes",
					       LINE_LEN_MAX);
		goes_on = len > 1 && part[len - 1] == '\n' && part[len - 2] == '\\';
		if (goes_on)
			len -= 2;
		more = realloc(line->text, have + len + 1);
		if (!more)
			return -ENOMEM;
		line->text = more;
		memcpy(line->text + have, part, len);
		have += len;
		line->text[have] = '\0';
	}
	if (ferror(file))
		return vdpa_extack_set(ack, -EIO, "cannot read the file");
	return line->next >= line->number;
}

/* Takes the quotes of one word out, in place.  Returns what follows the word, NULL if a quote stays
 * open. */
static char *take_word(char *in, char **end)
{
	char *out = in, quote = '\0';

	for (; *in && (quote || !is_blank(*in)); in++) {
		if (quote ? *in == quote : *in == '"' || *in == '\'') {
			quote = quote ? '\0' : *in;
			continue;
		}
		if (*in == '\\' && quote != '\'' && in[1])
			in++;
		*out++ = *in;
	}
	*end = out;
	return quote ? NULL : in;
}

static int split(struct line *line, struct vdpa_extack *ack)
{
	char *at = line->text, *end;
	bool last = false;

	line->num = 0;
	while (!last) {
		while (is_blank(*at))
			at++;
		if (!*at || *at == '#')
			return 0;
		if (line->num == LINE_WORDS_MAX)
			return vdpa_extack_set(ack, -EINVAL, "more than %d words", LINE_WORDS_MAX);
		line->words[line->num++] = at;
		at = take_word(at, &end);
		if (!at)
			return vdpa_extack_set(ack, -EINVAL, "a quote is not closed");
		last = !*at++;
		*end = '\0';
	}
	return 0;
}

int line_read(struct line *line, FILE *file, struct vdpa_extack *ack)
{
	int ret;

	do {
		free(line->text);
		line->text = NULL;
		line->num = 0;
		ret = read_text(line, file, ack);
		if (ret > 0) {
			int err = split(line, ack);

			if (err)
				return err;
		}
	} while (ret > 0 && !line->num);
	return ret;
}

void line_free(struct line *line)
{
	free(line->text);
	line->text = NULL;
	line->num = 0;
}

char *line_quote(const char *word)
{
	static const char safe[] = "-_./:,=+@%";
	size_t len = strlen(word), i;
	char *ret = malloc(2 * len + 3), *out = ret;

	if (!ret)
		return NULL;
	for (i = 0; i < len && (isalnum((unsigned char)word[i]) || strchr(safe, word[i])); i++)
		;
	if (len && i == len)
		return memcpy(ret, word, len + 1);
	*out++ = '"';
	for (i = 0; i < len; i++) {
		if (strchr("\"\\$`", word[i]))
			*out++ = '\\';
		*out++ = word[i];
	}
	*out++ = '"';
	*out = '\0';
	return ret;
}
