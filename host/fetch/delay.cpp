#include "fetch/delay.hpp"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sluice::fetch {

Task<> TimerDelay::wait(std::chrono::nanoseconds span) {
  if (span <= std::chrono::nanoseconds::zero()) co_return;
  const Executor executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, span);
  co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace sluice::fetch
