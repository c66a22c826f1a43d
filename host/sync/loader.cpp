#include "sync/loader.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/bytes.hpp"
#include "sync/deaths.hpp"

namespace sluice::sync {

using Code = Result<std::shared_ptr<const connector::ConnectorCode>>;

namespace {

std::string title(const ConnectorFile& file) {
  return fmt::format("{} {}", file.connector, file.version);
}

}  // namespace

Loader::Loader(Services services) : services_(services), ended_(services.pool.executor()) {
  ended_.expires_at(asio::steady_timer::time_point::max());
}

std::optional<Error> Loader::stands() const {
  if (!stands_ || stands_->came_back) return std::nullopt;
  return Error(ErrorKind::retry_later, "connector.loading_stands",
               fmt::format("{} has not come back from being loaded, and until it does nothing else "
                           "can be loaded here",
                           title(stands_->file)),
               "Start this host again; what is loaded already goes on meanwhile");
}

/// Until no other file is being loaded. All who wait share one timer, and a new expiry would wake
/// them all, so that it never gets one: a load that ends cancels them, and each looks again.
Task<void> Loader::turn() {
  while (under_way_) {
    boost::system::error_code ended;
    co_await ended_.async_wait(asio::redirect_error(asio::use_awaitable, ended));
  }
}

std::optional<Code> Loader::known(const ConnectorFile& file) const {
  if (auto code = services_.registry.find(file.sha256)) return Code(std::move(code));
  if (auto held = services_.registry.held(file.sha256)) return std::unexpected(std::move(*held));
  return std::nullopt;
}

Task<Code> Loader::obtain(ConnectorFile file, StepOwner owner) {
  if (std::optional<Code> code = known(file)) co_return std::move(*code);
  co_await turn();
  if (std::optional<Code> code = known(file)) co_return std::move(*code);
  if (std::optional<Error> other = stands()) co_return std::unexpected(std::move(*other));
  under_way_ = true;
  struct Ended {
    Loader& loader;
    ~Ended() {
      loader.under_way_ = false;
      loader.ended_.cancel();
    }
  } ended{*this};
  const auto load = std::make_shared<Load>();
  load->file = file;
  StepPool::Step step = [&registry = services_.registry, load] {
    struct Back {
      Load& load;
      ~Back() { load.came_back = true; }
    } back{*load};
    load->began = true;
    load->code = registry.obtain(load->file.sha256);
  };
  owner.what = "loading " + title(file);
  std::exception_ptr surprise;
  std::optional<Error> given_up;
  try {
    co_await services_.steps.run_code(std::move(step), std::move(owner));
  } catch (const Failure& failure) {
    if (failure.error().code == kStepGivenUp) {
      given_up = failure.error();
    } else {
      surprise = std::current_exception();
    }
  } catch (...) {
    surprise = std::current_exception();
  }
  // One that was refused a thread, or left the line, was never begun: it holds up nobody.
  if (load->began && !load->came_back) stands_ = load;
  if (surprise) std::rethrow_exception(surprise);
  if (!given_up) co_return load->code;
  std::string sha256 = file.sha256;
  services_.registry.hold(std::move(sha256), given_up->message);
  std::array<std::uint8_t, 16> number{};
  services_.entropy.fill(number);
  std::string death = to_hex(number);
  const std::optional<Error> held = services_.registry.held(file.sha256);
  co_await count_hung_load(services_.pool, std::move(file), std::move(death),
                           services_.clock.now());
  if (held) co_return std::unexpected(*held);
  co_return load->code;  // it came back just now
}

}  // namespace sluice::sync
