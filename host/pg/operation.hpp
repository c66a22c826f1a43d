// Which statements are those of one request, for tests that let each of them fail
// (base/statement_fault.hpp).
#pragma once

namespace sluice::pg {

class Connection;

/// While it lives, what the flow (holding.hpp) asks the pools for is the operation's. Made only
/// while statements are watched; nullptr is no flow. One loop.
class Operation {
 public:
  explicit Operation(const void* flow);
  ~Operation();
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  /// The connection goes to this flow now.
  static void lend(const Connection* connection, const void* flow);
  /// It was lent to one, last.
  [[nodiscard]] static bool has(const Connection* connection);

 private:
  const void* flow_;
};

}  // namespace sluice::pg
