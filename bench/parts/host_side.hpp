// The host's side of bench/ingest: the real parts, from HTTP to committed.
#pragma once

#include <nlohmann/json.hpp>

namespace sluice::bench {

/// Syncs the streams of all workers side by side on one loop, as the engine drives them: fetch,
/// connector, run_session, writer. `arguments`:
///   conninfo, port (of the page server), directory (for the connector store), workers,
///   pages (of each worker), set (random ids; worker w reads set + w),
///   enumeration (0: ids are not kept; else as in a re-snapshot), tapes (file descriptors; none)
/// Answers {"seconds", "records", "inserted", "unchanged", "cpu_s", "peak_rss_mb", "rss_mb": [at a
/// quarter, half, three quarters, the end], "page_bytes_peak"}.
nlohmann::json run_host(const nlohmann::json& arguments);

}  // namespace sluice::bench
