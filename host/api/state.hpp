// What the API keeps in memory between requests. Nothing of it is missed after a restart.
#pragma once

#include <string>
#include <vector>

#include "api/cached.hpp"
#include "api/metrics.hpp"
#include "api/places.hpp"
#include "api/progress.hpp"
#include "api/refusals.hpp"
#include "base/fair_share.hpp"

namespace sluice::api {

/// JSON bodies that are still coming: what they have brought is kept, so a client that brings all
/// but the end costs memory for as long as it is waited for. Of small ones nothing is counted.
inline constexpr std::size_t kBodyPieceBytes = 64 << 10;
inline constexpr std::size_t kBodyPiecesMax = 1024;  ///< 64 MiB

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
  FairShare body_bytes{kBodyPiecesMax};  ///< of JSON bodies that are not complete yet, in pieces
};

}  // namespace sluice::api
