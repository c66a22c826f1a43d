// The one way to wait: Boost.Asio awaitables. Everything that belongs to one loop runs on one
// thread, so a component takes an executor and needs no lock; a host that wants more cores runs
// more loops.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace sluice {

namespace asio = boost::asio;

/// A coroutine's result. Write `co_await f(named_value)`: GCC 12 miscompiles braced aggregates and
/// capturing lambdas inside a co_await statement (tests/manners checks it).
template <class T = void>
using Task = asio::awaitable<T>;

using Executor = asio::any_io_executor;

}  // namespace sluice
