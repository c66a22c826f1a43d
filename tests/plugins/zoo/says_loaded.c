/* The toy's twin: the same manifest, and the same to all who look at it, but that it leaves a word
 * when it is loaded. */
#define _GNU_SOURCE
#include "toy.c"

__attribute__((constructor)) static void say(void) { setenv("ZOO_SAYS_LOADED", "yes", 1); }
