// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Debian's libbpf.a is position independent but for one symbol of data, the C library's stderr, which no shared object can be linked with.
 * The Makefile gives it another name in our copy of the archive, and here it is.
 */
#include <stdio.h>

__attribute__((visibility("hidden"))) FILE *libbpf_stderr;

__attribute__((constructor)) static void set_stderr(void)
{
	libbpf_stderr = stderr;
}
