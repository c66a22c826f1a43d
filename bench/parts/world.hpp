// The databases of a bench: migrated, with the bench connector's type installed.
#pragma once

#include <cstdint>
#include <string>

#include "pg/cluster.hpp"

namespace sluice::bench {

/// The same for everything that is compared.
struct WorldOptions {
  int workers = 1;  ///< connections (of Sluice) 1 … workers, each with a stream, a run and a lease
};

/// A private PostgreSQL in a directory of its own, removed with it. One thread; blocking.
class World {
 public:
  explicit World(WorldOptions options);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// A fresh database, copied from the migrated one, after a CHECKPOINT. For libpq.
  std::string make_database(const std::string& name);
  void drop_database(const std::string& name);
  /// Rows of earlier syncs of connection 1, with random ids and their link keys.
  void load_existing(const std::string& conninfo, std::int64_t rows);
  /// One row a worker: its type is then not empty, and pages are inserted instead of copied.
  void seed_one_row(const std::string& conninfo);
  void checkpoint();
  /// CPU seconds of the server's client backends that have ended since they were `before` in all
  /// (children_cpu_seconds). Waits until every one has: they are counted only then. Throws when
  /// somebody stays connected.
  double backends_cpu_since(double before);
  /// Bytes of WAL so far.
  std::int64_t wal_position();
  /// The first column of the first row.
  std::string ask(const std::string& conninfo, const std::string& sql);
  [[nodiscard]] int postmaster_pid() const { return cluster_->postmaster_pid(); }
  [[nodiscard]] const std::string& directory() const { return directory_; }

 private:
  void prepare();
  WorldOptions options_;
  std::string directory_;
  std::unique_ptr<pg::Cluster> cluster_;
};

}  // namespace sluice::bench
