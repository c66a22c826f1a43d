// What a fuzz target promises, and how it says that a promise was broken.
//
// A target is one function, LLVMFuzzerTestOneInput(data, size), in a file of its own. libFuzzer
// drives it where Clang's is installed; elsewhere corpus_main.cpp feeds it the corpus once, so that
// what was found once is never lost. Beside what the sanitizers see, a target states what must hold
// for every input, with check().
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/bytes.hpp"
#include "base/error.hpp"

namespace sluice::fuzz {

inline void check(bool holds, const char* promise, const std::string& seen = {}) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n%s\n", promise, seen.c_str());
  std::abort();
}

/// Messages end in logs, in JSON answers and on terminals, whatever bytes the input quoted to us.
inline void check_error(const Error& error, std::string_view prefix) {
  check(error.code.starts_with(prefix), "an error's code names its area", error.code);
  check(!error.message.empty() && !error.hint.empty(), "an error says what is wrong and what to do",
        error.describe());
  check(is_utf8(error.message), "a message is UTF-8", error.message);
  check(error.message.size() <= 20000, "a message has an end", error.message);
  for (const char c : error.message) {
    check(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F, "a message is one printable line",
          error.message);
  }
}

}  // namespace sluice::fuzz
