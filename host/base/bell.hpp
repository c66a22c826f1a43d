// A timer on which one coroutine waits for another.
#pragma once

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/async.hpp"

namespace sluice {

/// Until somebody cancels the timer (true), or its time has come (false); ask again what you wait
/// for, as it may be rung for somebody else. Throws when the waiting coroutine itself is cancelled,
/// also at the moment in which the bell rings: look before you go what you may have been given.
inline Task<bool> rung(asio::steady_timer& bell) {
  boost::system::error_code woken;
  co_await bell.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  const auto asked = co_await asio::this_coro::cancellation_state;
  if (asked.cancelled() != asio::cancellation_type::none)
    throw boost::system::system_error(asio::error::operation_aborted);
  co_return woken == asio::error::operation_aborted;
}

}  // namespace sluice
