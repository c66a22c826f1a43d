// A second host, for tests in which the first one is stopped or late.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/clock.hpp"
#include "base/failpoint.hpp"
#include "base/task_group.hpp"
#include "pg/pool.hpp"
#include "sync/lease.hpp"

namespace sluice::sync {

/// Another host, in this process, on a loop of its own: takes the lease as soon as it is asked to.
class NextHost {
 public:
  explicit NextHost(const std::string& conninfo) {
    pg::PoolOptions options;
    options.connect.conninfo = conninfo;
    options.size_max = 4;
    pool_ = std::make_unique<pg::Pool>(io_.get_executor(), std::move(options));
    pg::Uuid holder;
    holder.bytes[0] = 2;
    leases_ = std::make_unique<Leases>(*pool_, clock_, LeaseOptions(), holder);
    renewing_ = std::make_unique<TaskGroup>(io_.get_executor());
    renewing_->spawn(leases_->keep_renewing());
  }
  ~NextHost() {
    renewing_.reset();
    pool_->close();
  }

  std::optional<LeaseGrant> take(WorkspaceId workspace, const std::string& name) {
    return run(leases_->acquire(workspace, name));
  }
  std::string ask(const std::string& sql) {
    const pg::QueryResult rows = run(pool_->query(sql));
    return rows.rows() == 0 || rows.is_null(0, 0) ? "" : rows.get<std::string>(0, 0);
  }

 private:
  template <class T>
  T run(Task<T> task) {
    std::optional<T> value;
    std::exception_ptr surprise;
    bool done = false;
    asio::co_spawn(io_, keep(std::move(task), value), [&](std::exception_ptr error) {
      surprise = error;
      done = true;
    });
    io_.restart();
    while (!done) io_.run_one();
    if (surprise) std::rethrow_exception(surprise);
    return std::move(*value);
  }
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>& value) {
    value.emplace(co_await std::move(task));
  }

  asio::io_context io_;
  SystemClock clock_;
  std::unique_ptr<pg::Pool> pool_;
  std::unique_ptr<Leases> leases_;
  std::unique_ptr<TaskGroup> renewing_;
};

/// Where a host is stopped, loses its lease to the next one, and is continued.
struct Stop {
  std::string conninfo;
  WorkspaceId workspace;
  std::string lease;
  const char* everything = nullptr;  ///< SQL: one text of all that the host may write
  std::set<std::string> at;          ///< passages that somebody was stopped at already
};

/// `work` is stopped at its first passage of a pg::Fenced that is not in stop.at, and must not
/// write anything from there on. False: it met none, and ended well.
inline bool is_stopped(Stop& stop, const std::function<void()>& work) {
  NextHost next(stop.conninfo);
  std::string where, at_takeover, ended_with;
  {
    const failpoint::Observer observer([&](std::string_view name) {
      if (!name.starts_with("fenced.") || !where.empty() || stop.at.contains(std::string(name)))
        return;
      where = name;
      stop.at.insert(where);
      EXPECT_TRUE(next.take(stop.workspace, stop.lease));
      at_takeover = next.ask(stop.everything);
    });
    try {
      work();
    } catch (const Failure& failure) {
      ended_with = failure.error().code;
    }
  }
  if (where.empty()) {
    EXPECT_EQ(ended_with, "");
    return false;
  }
  if (where != "fenced.after.fence_commit") {
    EXPECT_NE(ended_with, "") << where << ": it went on";
  }
  EXPECT_EQ(next.ask(stop.everything), at_takeover) << where << ": " << ended_with;
  std::printf("stopped at %s\n", where.c_str());
  return true;
}

}  // namespace sluice::sync
