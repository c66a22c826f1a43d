// Streaming gzip, strict where libcurl is not: a body that ends in the middle of its gzip member is
// an error.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

namespace sluice::fetch {

/// Inflates one body, gzip (one or more members) or zlib. What stands behind the last member and is
/// no further one, such as the zeros with which some servers fill a block, is left out. Owner: the
/// transfer. Not copyable.
class Inflater {
 public:
  /// Takes the next piece of output; false ends the inflation (the caller knows why).
  using Sink = bool (*)(void* user, std::string_view piece);
  enum class Outcome { more, stopped, broken };

  Inflater();
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  /// Inflates `input`, handing on at most 64 KiB at a time.
  Outcome feed(std::string_view input, Sink sink, void* user);
  /// True between members: where a body may end. An empty body is complete too.
  [[nodiscard]] bool complete() const;
  /// At least one member was read to its end.
  [[nodiscard]] bool has_member() const;

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
};

}  // namespace sluice::fetch
