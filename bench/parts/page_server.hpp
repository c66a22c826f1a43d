// A vendor for the benches: pages rendered beforehand, served over a real socket.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::bench {

inline constexpr int kPageRecords = 1000;

/// One page of kPageRecords records of about 1 KB and 20 attributes, rendered once. body() puts the
/// random ids of one set and page into it; each set has other ids, each call the same ones.
class Pages {
 public:
  Pages();
  /// Valid until the next call. `last` says has_more: false.
  const std::string& body(std::uint64_t set, std::uint64_t page);
  /// The id of a record, as body() writes it.
  static std::string external_id(std::uint64_t set, std::uint64_t record);

 private:
  std::string body_;
  bool made_ = false;
  std::uint64_t set_ = 0, page_ = 0;       ///< that body_ is of
  std::vector<std::size_t> ids_, emails_;  ///< where a record's id and its e-mail's name stand
};

/// Serves GET …?set=S&page=N on 127.0.0.1, a thread a connection, until the process ends. Writes
/// its port and a newline to `port_fd`, then closes it.
[[noreturn]] void serve_pages(int port_fd);

}  // namespace sluice::bench
