#include "vault/harden.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <sodium.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>

#include "base/check.hpp"
#include "base/log.hpp"
#include "base/wiped.hpp"
#include "vault/sodium.hpp"

namespace sluice::vault {
namespace {

std::unexpected<Error> refused(const char* what) {
  return fail(
      ErrorKind::internal, "vault.hardening",
      fmt::format("core dumps could not be switched off: {}: {}", what, std::strerror(errno)),
      "A dump of this process would hold keys, so it does not start. Check what the service "
      "manager or the container forbids");
}

bool memory_locks() {
  constexpr std::size_t kBytes = 4096;
  void* page = sodium_malloc(kBytes);
  if (page == nullptr) return false;
  const bool locked = sodium_mlock(page, kBytes) == 0;
  sodium_free(page);
  return locked;
}

// OpenSSL decrypts and encrypts in buffers of its own: whole requests, those of ours and those that
// come to us. Its macros give each call the place in the source, too.
void* tls_allocate(std::size_t size, const char* /*file*/, int /*line*/) {
  return allocate_memory(size);
}
void* tls_reallocate(void* memory, std::size_t size, const char* /*file*/, int /*line*/) {
  return reallocate_memory(memory, size);
}
void tls_free(void* memory, const char* /*file*/, int /*line*/) { free_wiped(memory); }

}  // namespace

void require_sodium() { SLUICE_INVARIANT(sodium_init() >= 0); }

Result<Hardening> harden_process() {
  require_sodium();
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) return refused("setrlimit(RLIMIT_CORE)");
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return refused("prctl(PR_SET_DUMPABLE)");
  if (CRYPTO_set_mem_functions(&tls_allocate, &tls_reallocate, &tls_free) != 1) {
    return fail(ErrorKind::internal, "vault.hardening",
                "OpenSSL was used before its memory could be one that is wiped");
  }
  Hardening done;
  done.core_dumps_off = true;
  done.memory_locks = memory_locks();
  if (!done.memory_locks) {
    log::warning(
        "vault.memory_not_locked",
        {{"what", "keys are held in memory that may be swapped out"},
         {"do", "raise the locked memory limit (LimitMEMLOCK=, ulimit -l) to 8 MiB or more"}});
  }
  return done;
}

}  // namespace sluice::vault
