// What every bench does with its figures and its coroutines.
#pragma once

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <vector>

#include "base/async.hpp"

namespace sluice::bench {

/// Of an even number: between the two in the middle. Of none: 0.
inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// Until the task and all that it began have ended.
template <class T>
T run_until_done(asio::io_context& loop, Task<T> task) {
  auto future = asio::co_spawn(loop, std::move(task), asio::use_future);
  loop.restart();
  loop.run();
  return future.get();
}

}  // namespace sluice::bench
