// What the API keeps in memory between requests. Nothing of it is missed after a restart.
#pragma once

#include <string>
#include <vector>

#include "api/cached.hpp"
#include "api/metrics.hpp"
#include "api/places.hpp"
#include "api/progress.hpp"
#include "api/refusals.hpp"

namespace sluice::api {

/// What /readyz asks of the database.
struct SchemaState {
  int version = 0;
  std::vector<std::string> held;  ///< connectors that run for nobody, and why
};

/// One per Api; one loop.
struct State {
  ProgressMeter progress;
  Cached<DatabaseGauges> gauges;
  Cached<SchemaState> schema;
  Refusals refusals;
  Places places;
  bool stopping = false;
};

}  // namespace sluice::api
