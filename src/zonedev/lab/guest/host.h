/*
 * What the agent says to the host.
 */
#ifndef HOST_H
#define HOST_H

#include "calls.h"

#include <stdarg.h>
#include <stdio.h>

static FILE *host;

static void reply(unsigned long id, char sign, const char *format, ...)
{
	va_list args;

	fprintf(host, "%lu %c ", id, sign);
	va_start(args, format);
	vfprintf(host, format, args);
	va_end(args);
	fputs("\n", host);
	fflush(host);
}

static void refuse(unsigned long id, int error)
{
	reply(id, '!', "%s", failure(-error));
}

#endif
