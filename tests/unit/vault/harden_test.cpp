#include "vault/harden.hpp"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace sluice::vault {
namespace {

/// In a child: what it does to a process cannot be undone. _exit, because leak checking needs
/// ptrace.
[[noreturn]] void harden_and_look() {
  const auto done = harden_process();
  if (!done || !done->core_dumps_off) ::_exit(10);
  rlimit limit{1, 1};
  if (::getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_cur != 0 || limit.rlim_max != 0)
    ::_exit(11);
  if (::prctl(PR_GET_DUMPABLE) != 0) ::_exit(12);
  ::_exit(0);
}

TEST(HardenDeathTest, SwitchesCoreDumpsOff) {
  EXPECT_EXIT(harden_and_look(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace sluice::vault
