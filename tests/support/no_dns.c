/* A name server that knows one name more, and of which nothing is heard while a file exists.
 * Preloaded into a host by a test: "vendor.test" is this machine, until the file that NO_DNS_WHILE
 * names is there. Built without sanitizers, as disk_full is. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char* name, const char* service, const struct addrinfo* hints,
                struct addrinfo** found) {
  static int (*next)(const char*, const char*, const struct addrinfo*, struct addrinfo**);
  if (next == NULL)
    next = (int (*)(const char*, const char*, const struct addrinfo*, struct addrinfo**))dlsym(
        RTLD_NEXT, "getaddrinfo");
  if (name == NULL || strcmp(name, "vendor.test") != 0) return next(name, service, hints, found);
  const char* trigger = getenv("NO_DNS_WHILE");
  if (trigger != NULL && access(trigger, F_OK) == 0) return EAI_AGAIN;
  return next("127.0.0.1", service, hints, found);
}
