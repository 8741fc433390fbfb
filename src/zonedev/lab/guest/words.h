/*
 * The words of the protocol: lines of words, numbers, percent-encoded texts, bytes in hex.
 */
#ifndef WORDS_H
#define WORDS_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE 16384	/* bytes of a line */
#define BYTES 4096	/* bytes of a request or an answer, as such */

/* Words of a line; further ones are left out. */
static int split(char *line, char **words, int most)
{
	char *rest;
	int n = 0;

	for (char *word = strtok_r(line, " ", &rest); word && n < most; word = strtok_r(NULL, " ", &rest))
		words[n++] = word;
	return n;
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef", *found = c ? strchr(digits, c | 0x20) : NULL;

	return found ? found - digits : -1;
}

/* "%20" to " ", in place. */
static void decode(char *text)
{
	char *to = text;

	for (char *from = text; *from; from++) {
		if (*from == '%' && hex_digit(from[1]) >= 0 && hex_digit(from[2]) >= 0) {
			*to++ = hex_digit(from[1]) << 4 | hex_digit(from[2]);
			from += 2;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

static bool number(const char *word, unsigned long *value)
{
	char *end;

	errno = 0;
	*value = strtoul(word, &end, 0);
	return *word >= '0' && *word <= '9' && !*end && !errno;
}

/* "6869" to "hi": the bytes, or -1. */
static int from_hex(const char *text, char *bytes)
{
	int n = 0;

	if (!strcmp(text, "-"))
		return 0;
	for (; *text; text += 2, n++) {
		if (n == BYTES || hex_digit(text[0]) < 0 || hex_digit(text[1]) < 0)
			return -1;
		bytes[n] = hex_digit(text[0]) << 4 | hex_digit(text[1]);
	}
	return n;
}

static void to_hex(char *text, const char *bytes, int n)
{
	strcpy(text, "-");
	for (int i = 0; i < n; i++)
		sprintf(text + 2 * i, "%02x", (unsigned char)bytes[i]);
}

#endif
