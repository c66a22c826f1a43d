/* For the test that a look at hardening says what is missing: everything. */
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  char copy[16];
  strcpy(copy, argv[argc - 1]);
  return puts(copy) < 0;
}
