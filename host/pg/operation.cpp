#include "pg/operation.hpp"

#include <set>

namespace sluice::pg {
namespace {

struct Known {
  std::set<const void*> flows;
  std::set<const Connection*> lent;
};

Known& known() {
  static Known all;
  return all;
}

}  // namespace

Operation::Operation(const void* flow) : flow_(flow) {
  if (flow_ != nullptr) known().flows.insert(flow_);
}

Operation::~Operation() {
  if (flow_ != nullptr) known().flows.erase(flow_);
}

void Operation::lend(const Connection* connection, const void* flow) {
  if (known().flows.contains(flow)) {
    known().lent.insert(connection);
  } else {
    known().lent.erase(connection);
  }
}

bool Operation::has(const Connection* connection) { return known().lent.contains(connection); }

}  // namespace sluice::pg
