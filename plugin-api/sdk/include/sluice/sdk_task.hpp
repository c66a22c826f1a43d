// sluice/sdk_task.hpp - the coroutine that turns a straight line of requests and records into
// step() calls.
//
// A connector's operation is one coroutine, perhaps with coroutines that it awaits. Nothing runs at
// the same time: the innermost one is resumed in a plain loop (no symmetric transfer, so no stack
// growth in any build), until it waits for the host. What a coroutine remembers dies with the
// session; what must survive goes into the checkpoint.
//
// GCC 12 miscompiles statements with co_await that also build a braced aggregate or a capturing
// lambda. Name such a value on the line above.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace sluice::sdk {

namespace detail {

/// Which coroutine goes on when the session is resumed.
struct Line {
  std::coroutine_handle<> innermost;
};

struct PromiseBase {
  Line* line = nullptr;
  std::coroutine_handle<> awaiting;
  std::exception_ptr error;

  struct HandBack {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> self) const noexcept {
      self.promise().line->innermost = self.promise().awaiting;
    }
    void await_resume() const noexcept {}
  };

  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] HandBack final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { error = std::current_exception(); }
};

template <class T>
struct Promise;

}  // namespace detail

/// A coroutine that ends with a T. It starts when it is awaited, once. Owned by whoever holds it.
template <class T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;

  Task() = default;
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      destroy();
      handle_ = std::exchange(other.handle_, {});
    }
    return *this;
  }
  ~Task() { destroy(); }

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Outer>
  void await_suspend(std::coroutine_handle<Outer> outer) noexcept {
    handle_.promise().line = outer.promise().line;
    handle_.promise().awaiting = outer;
    outer.promise().line->innermost = handle_;
  }
  T await_resume() { return finish(); }

  /// For the session: makes this the outermost coroutine of `line`.
  void begin(detail::Line& line) {
    handle_.promise().line = &line;
    line.innermost = handle_;
  }
  [[nodiscard]] bool exists() const { return static_cast<bool>(handle_); }
  /// The result, or throws what the coroutine threw.
  T finish() {
    if (handle_.promise().error) std::rethrow_exception(handle_.promise().error);
    if constexpr (!std::is_void_v<T>) return std::move(*handle_.promise().result);
  }
  void destroy() {
    if (handle_) std::exchange(handle_, {}).destroy();
  }

 private:
  std::coroutine_handle<promise_type> handle_;
};

namespace detail {

template <class T>
struct Promise : PromiseBase {
  std::optional<T> result;
  Task<T> get_return_object() {
    return Task<T>(std::coroutine_handle<Promise>::from_promise(*this));
  }
  template <class U>
  void return_value(U&& value) {
    result.emplace(std::forward<U>(value));
  }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object() {
    return Task<void>(std::coroutine_handle<Promise>::from_promise(*this));
  }
  void return_void() const noexcept {}
};

}  // namespace detail
}  // namespace sluice::sdk
