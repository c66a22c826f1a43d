// Connectors whose code runs in this process.
#pragma once

#include <memory>

#include "base/error.hpp"
#include "connector/flight_recorder.hpp"
#include "connector/session.hpp"
#include "connector/store.hpp"

namespace sluice::connector {

/// Maps an admitted file and wraps it as code. Errors: those of Library::load().
/// In process means trusted: a connector that crashes takes the host with it, and `recorder`, which
/// outlives every session, knows whose code it was. Sessions guard against what can be seen:
/// exceptions, wrong output, calls at the wrong time.
Result<std::shared_ptr<const ConnectorCode>> load_in_process(Admitted admitted,
                                                             FlightRecorder* recorder);

}  // namespace sluice::connector
