// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The other end of the lab's wires: a backend that says who it is, a client that asks once, and the standard load. */
#define _GNU_SOURCE

#include "peer_ask.h"
#include "peer_load.h"
#include "peer_serve.h"

int main(int count, char **arguments)
{
	signal(SIGPIPE, SIG_IGN);
	if (count > 1 && !strcmp(arguments[1], "serve"))
		return run_serve(count - 2, arguments + 2);
	if (count > 1 && !strcmp(arguments[1], "ask"))
		return run_ask(count - 1, arguments + 1);
	if (count > 1 && !strcmp(arguments[1], "load"))
		return run_load(count - 1, arguments + 1);
	fail("usage: peer serve|ask|load …");
}
