// sluice/sdk.hpp - comfort for connectors in C++20: header only, nothing to link.
//
// A connector is one class. Each operation is a coroutine that reads like the conversation it has:
//
//   class Acme final : public sluice::sdk::Connector {
//     Task<> read(std::string_view, std::string_view checkpoint_text, std::uint32_t) override {
//       std::string next(checkpoint_text);
//       for (;;) {
//         Target target("/v1/people");
//         if (!next.empty()) target.add("after", next);
//         Reply reply = co_await get(target.text());
//         if (reply.status() != 200) throw failure_of(reply, "Acme");
//         const json::Value page = reply.json();
//         for (const json::Value person : page.list("people")) {
//           record().begin(manifest::types::person, person["id"].text());
//           map_object(record(), kPerson, person);
//           co_await emit(record());
//         }
//         const auto cursor = page.cursor("next", next);
//         if (!cursor) co_return;
//         next = *cursor;
//         co_await checkpoint(next);
//       }
//     }
//   };
//   SLUICE_CONNECTOR(Acme)
//
// Who sees to what. The session below speaks the C contract: it turns STOP into MORE and goes on at
// CONTINUE with nothing lost, matches replies to requests, ends at CANCEL, and lets no exception
// out. The author throws Failure for what the vendor or the configuration did wrong; any other
// exception becomes FAILED(INTERNAL).
//
// RULES FOR AUTHORS
//   · after any co_await the world may have moved to another thread: no thread_local, no globals
//   · now_ms() and entropy() are the only clock and the only dice
//   · no braced value, no capturing lambda and no conditional (a ? b : c) in what a statement with
//     co_await builds: GCC 12 miscompiles it. Name it on the line above; sluice_add_connector()
//     says where
#pragma once

#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sluice/connector.h>
#include <sluice/sdk_json.hpp>
#include <sluice/sdk_record.hpp>
#include <sluice/sdk_task.hpp>
#include <sluice/sdk_text.hpp>

namespace sluice::sdk {

/// What ends an operation in FAILED: thrown anywhere below an operation's coroutine.
class Failure : public std::runtime_error {
 public:
  Failure(sluice_failure_class of_class, const std::string& message, std::string code = {},
          std::int64_t retry_ms = 0)
      : std::runtime_error(message),
        vendor_code(std::move(code)),
        failure_class(of_class),
        retry_after_ms(retry_ms) {}

  std::string vendor_code;
  sluice_failure_class failure_class;
  std::int64_t retry_after_ms;
};

/// A contract error that step() returns as it is: what a sink function answered, or an unsupported
/// operation.
struct ContractError {
  sluice_status status;
};

class Session;

/// A response, with everything that was borrowed copied: valid as long as it is held, over any
/// number of awaits. Returns its memory to the session when it goes; what it answers are views into
/// that memory, so a Reply that has no name is asked for its status only. Move only.
class Reply {
 public:
  Reply() = default;
  Reply(Reply&& other) noexcept { swap(other); }
  Reply& operator=(Reply&& other) noexcept {
    if (this != &other) {
      Reply gone(std::move(*this));
      swap(other);
    }
    return *this;
  }
  inline ~Reply();

  [[nodiscard]] std::uint64_t request_id() const { return content_->request_id; }
  /// The HTTP status; 0 when no response came, and then body() says why. The host has already
  /// retried.
  [[nodiscard]] int status() const { return content_->status; }
  /// The value of the first header of that name, without regard to case; nullopt when there is
  /// none.
  [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const& {
    for (const auto& [at_name, at_value] : content_->headers) {
      if (equal_ignoring_case(at_name, name)) return at_value;
    }
    return std::nullopt;
  }
  std::optional<std::string_view> header(std::string_view name) && = delete;
  [[nodiscard]] std::string_view body() const& { return content_->document.text(); }
  std::string_view body() && = delete;
  /// The body as JSON; throws json::Error (which ends the operation in BAD_DATA) when it is none.
  [[nodiscard]] json::Value json() & { return content_->document.parse_loaded(); }
  json::Value json() && = delete;
  /// The body as JSON, or missing when it is none: for error pages, which may be anything.
  json::Value json_if_any() && = delete;
  [[nodiscard]] json::Value json_if_any() & {
    try {
      return content_->document.parse_loaded();
    } catch (const json::Error&) {
      return {};
    }
  }
  /// Seconds since the epoch by the server's Date header; nullopt when it sends none.
  [[nodiscard]] std::optional<std::int64_t> server_time() const {
    const auto date = header("Date");
    return date ? parse_http_date(*date) : std::nullopt;
  }

 private:
  friend class Session;
  struct Content {
    std::uint64_t request_id = 0;
    int status = 0;
    Arena arena;
    std::vector<std::pair<std::string_view, std::string_view>> headers;
    json::Document document;
  };

  void swap(Reply& other) noexcept {
    std::swap(session_, other.session_);
    std::swap(content_, other.content_);
  }

  Session* session_ = nullptr;
  std::unique_ptr<Content> content_;
};

/// What a sink call gives back: co_await it. Ends the step when the sink's limit is reached, and
/// goes on in the next.
struct [[nodiscard]] Sent {
  Session* session;
  [[nodiscard]] inline bool await_ready() const noexcept;
  inline void await_suspend(std::coroutine_handle<>) const noexcept;
  void await_resume() const noexcept {}
};

/// A request under way: co_await it for its Reply, once.
struct [[nodiscard]] Awaited {
  Session* session;
  std::uint64_t id;
  [[nodiscard]] inline bool await_ready() const;
  inline void await_suspend(std::coroutine_handle<>) const noexcept;
  inline Reply await_resume() const;
};

/// A moment to wait for.
struct [[nodiscard]] Slept {
  Session* session;
  std::int64_t until;
  [[nodiscard]] inline bool await_ready() const noexcept;
  inline void await_suspend(std::coroutine_handle<>) const noexcept;
  void await_resume() const noexcept {}
};

/// The external ids of a complete set, collected over as many pages as it takes: each is copied.
/// Move only.
class Ids {
 public:
  void add(std::string_view id) { bytes_.push_back(to_bytes(memory_.keep(id))); }
  /// For the next set; keeps the memory.
  void clear() {
    bytes_.clear();
    memory_.clear();
  }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] std::span<const sluice_bytes> bytes() const { return bytes_; }

 private:
  Arena memory_;
  std::vector<sluice_bytes> bytes_;
};

/// Base of every connector: one object per session, made by open(), destroyed by close(). What it
/// asks of the author are the operations; what it offers are the protected functions.
class Connector {
 public:
  Connector() = default;
  Connector(const Connector&) = delete;
  Connector& operator=(const Connector&) = delete;
  virtual ~Connector() = default;

 protected:
  // ---- the operations; those that are not overridden answer UNSUPPORTED ----
  /// Reads its configuration; runs first, inside step(START). Throw Failure(SLUICE_FAIL_CONFIG, …)
  /// when it is wrong.
  virtual void configure(const json::Value& /*config*/) {}
  virtual Task<> check() { throw ContractError{SLUICE_E_UNSUPPORTED}; }
  /// The host does not call this one yet, nor receive(), subscribe() and unsubscribe().
  virtual Task<> discover() { throw ContractError{SLUICE_E_UNSUPPORTED}; }
  /// checkpoint_format is 0 and checkpoint empty when the stream begins.
  virtual Task<> read(std::string_view /*stream*/, std::string_view /*checkpoint*/,
                      std::uint32_t /*checkpoint_format*/) {
    throw ContractError{SLUICE_E_UNSUPPORTED};
  }
  virtual Task<> fetch(std::uint32_t /*type*/, std::vector<std::string_view> /*ids*/) {
    throw ContractError{SLUICE_E_UNSUPPORTED};
  }
  virtual Task<> receive(std::string_view /*payload*/) {
    throw ContractError{SLUICE_E_UNSUPPORTED};
  }
  virtual Task<> subscribe(std::string_view /*payload*/) {
    throw ContractError{SLUICE_E_UNSUPPORTED};
  }
  virtual Task<> unsubscribe(std::string_view /*payload*/) {
    throw ContractError{SLUICE_E_UNSUPPORTED};
  }

  // ---- what an operation may do ----
  inline Awaited get(std::string_view target);
  inline Awaited send(const sluice_request& request);
  inline Sent emit(const Record& record);
  inline Sent notify(std::uint32_t type, std::string_view external_id, std::int32_t kind,
                     std::int64_t observed_at_us, std::string_view merged_into = {});
  inline Sent complete_set(std::uint32_t type, std::uint32_t attribute, std::string_view equals,
                           const Ids& ids);
  /// Texts of a page are gone with its reply, and the set is put out behind the last page: collect
  /// its ids in Ids, which copies them.
  template <class Borrowed>
  Sent complete_set(std::uint32_t type, std::uint32_t attribute, std::string_view equals,
                    const Borrowed& ids) = delete;
  inline Sent checkpoint(std::string_view text);
  inline Sent result(std::string_view json);
  inline Sent log(std::int32_t level, std::string_view message);
  inline Sent total(std::int64_t records);
  inline Slept wait_until(std::int64_t wake_at_ms);

  /// The one record that emit() is usually given; made once, reused for each.
  [[nodiscard]] Record& record() { return record_; }
  /// A header that each later get() carries, in the place of one of that name. The credential is
  /// not among them: the host adds it.
  void set_header(std::string name, std::string value) {
    clear_header(name);
    headers_.emplace_back(std::move(name), std::move(value));
  }
  void clear_header(std::string_view name) {
    std::erase_if(headers_, [name](const auto& one) { return same_header_name(one.first, name); });
  }
  inline std::int64_t now_ms() const;
  inline std::span<const std::uint8_t, 16> entropy() const;
  /// How many records to ask for at once: what the host wishes, within 1 … most; `most` when it
  /// wishes nothing.
  [[nodiscard]] inline std::uint32_t page_size(std::uint32_t most) const;
  /// Headers of the delivery, in receive().
  [[nodiscard]] inline std::optional<std::string_view> delivery_header(std::string_view name) const;

  /// A failure from a reply that is not what was asked for, by its status and Retry-After alone (a
  /// 403 with it is RATE_LIMITED); connectors that can read their vendor's error bodies make a
  /// better message and use class_of().
  [[nodiscard]] inline Failure failure_of(Reply& reply, std::string_view vendor) const;
  [[nodiscard]] static inline sluice_failure_class class_of(int status);

 private:
  friend class Session;
  Session* session_ = nullptr;
  Record record_;
  std::vector<std::pair<std::string, std::string>> headers_;
};

/// The state machine between the C contract and a Connector's coroutine. Authors do not meet it.
class Session {
 public:
  Session(const sluice_host& host, const sluice_open_args& args,
          std::unique_ptr<Connector> connector)
      : host_minor_(host.abi_minor), args_(args), connector_(std::move(connector)) {
    connector_->session_ = this;
    ids_.reserve(args.id_count);
    for (std::uint32_t i = 0; i < args.id_count; ++i) ids_.push_back(to_view(args.ids[i]));
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() {
    operation_.destroy();  // before the replies' memory and the connector go
    mailbox_.clear();
  }

  /// Never throws; see connector.h.
  sluice_status step(const sluice_input& input, const sluice_sink& sink,
                     std::int64_t* wake_at_ms) noexcept {
    if (waits_ == Waits::nothing_more) return SLUICE_E_STATE;
    sink_ = &sink;
    now_ms_ = input.now_ms;
    std::memcpy(entropy_, input.entropy, sizeof(entropy_));
    sluice_status status = SLUICE_E_INTERNAL;
    try {
      status = run(input);
    } catch (const ContractError& error) {
      status = error.status;
    } catch (const Failure& failure) {
      status =
          fail(failure.failure_class, failure.what(), failure.vendor_code, failure.retry_after_ms);
    } catch (const json::Error& error) {
      status = fail(SLUICE_FAIL_BAD_DATA, error.what(), {}, 0);
    } catch (const std::bad_alloc&) {
      status = SLUICE_E_MEMORY;
    } catch (const std::exception& error) {
      status = fail(SLUICE_FAIL_INTERNAL, error.what(), {}, 0);
    } catch (...) {
      status = fail(SLUICE_FAIL_INTERNAL, "an exception that is no std::exception", {}, 0);
    }
    sink_ = nullptr;
    if (status == SLUICE_STEP_SLEEP && wake_at_ms != nullptr) *wake_at_ms = wake_at_ms_;
    if (status < 0 || status == SLUICE_STEP_DONE || status == SLUICE_STEP_FAILED) {
      waits_ = Waits::nothing_more;
    }
    return status;
  }

 private:
  friend class Connector;
  friend class Reply;
  friend struct Sent;
  friend struct Awaited;
  friend struct Slept;

  /// For what the coroutine waits.
  enum class Waits { start, not_at_all, go_on, reply, timer, nothing_more };

  sluice_status run(const sluice_input& input) {
    switch (input.kind) {
      case SLUICE_INPUT_CANCEL:
        return fail(SLUICE_FAIL_CANCELLED, "cancelled by the host", {}, 0);
      case SLUICE_INPUT_START:
        if (waits_ != Waits::start) return SLUICE_E_STATE;
        begin();
        break;
      case SLUICE_INPUT_RESPONSE:
      case SLUICE_INPUT_TRANSPORT_ERROR:
        if (waits_ == Waits::start) return SLUICE_E_STATE;
        take_reply(input);
        if (waits_ == Waits::reply && find_reply(awaited_) != nullptr) waits_ = Waits::not_at_all;
        break;
      case SLUICE_INPUT_CONTINUE:
        if (!owes_more_) return SLUICE_E_STATE;
        if (waits_ == Waits::go_on) waits_ = Waits::not_at_all;
        break;
      case SLUICE_INPUT_TIMER:
        if (waits_ != Waits::timer) return SLUICE_E_STATE;
        waits_ = Waits::not_at_all;
        break;
      default:
        return SLUICE_E_ARG;
    }
    stopped_ = false;  // each step has its own limit
    if (waits_ != Waits::go_on) send_held_back();
    while (waits_ == Waits::not_at_all && line_.innermost) line_.innermost.resume();
    owes_more_ = waits_ == Waits::go_on || (stopped_ && line_.innermost);
    if (owes_more_) return SLUICE_STEP_MORE;
    if (waits_ == Waits::reply) return SLUICE_STEP_WAIT;
    if (waits_ == Waits::timer) return SLUICE_STEP_SLEEP;
    operation_.finish();
    return SLUICE_STEP_DONE;
  }

  void begin() {
    waits_ = Waits::not_at_all;
    const std::string_view config_text = to_view(args_.config_json);
    json::Value config;
    try {
      config = config_.parse(trimmed(config_text).empty() ? std::string_view("{}") : config_text);
    } catch (const json::Error& error) {
      throw Failure(SLUICE_FAIL_CONFIG,
                    std::string("the configuration is no JSON: ") + error.what());
    }
    if (!config.is_object()) {
      throw Failure(SLUICE_FAIL_CONFIG, "the configuration must be an object, not " +
                                            std::string(to_string(config.kind())));
    }
    connector_->configure(config);
    operation_ = make_operation();
    operation_.begin(line_);
  }

  Task<> make_operation() {
    switch (args_.operation) {
      case SLUICE_OP_CHECK:
        return connector_->check();
      case SLUICE_OP_DISCOVER:
        return connector_->discover();
      case SLUICE_OP_READ:
        return connector_->read(to_view(args_.stream), to_view(args_.checkpoint),
                                args_.checkpoint_format);
      case SLUICE_OP_FETCH:
        return connector_->fetch(args_.type, ids_);
      case SLUICE_OP_RECEIVE:
        return connector_->receive(to_view(args_.payload));
      case SLUICE_OP_SUBSCRIBE:
        return connector_->subscribe(to_view(args_.payload));
      case SLUICE_OP_UNSUBSCRIBE:
        return connector_->unsubscribe(to_view(args_.payload));
      default:
        throw ContractError{SLUICE_E_UNSUPPORTED};
    }
  }

  // ---- replies ----

  void take_reply(const sluice_input& input) {
    bool known = false;
    for (std::uint64_t& id : outstanding_) {
      if (id != input.request_id) continue;
      id = outstanding_.back();
      outstanding_.pop_back();
      known = true;
      break;
    }
    if (!known) throw ContractError{SLUICE_E_ARG};
    Reply reply;
    reply.session_ = this;
    if (spare_.empty()) {
      reply.content_ = std::make_unique<Reply::Content>();
    } else {
      reply.content_ = std::move(spare_.back());
      spare_.pop_back();
    }
    Reply::Content& content = *reply.content_;
    content.request_id = input.request_id;
    content.status = input.kind == SLUICE_INPUT_RESPONSE ? input.status : 0;
    content.arena.clear();
    content.headers.clear();
    for (std::uint32_t i = 0; i < input.header_count; ++i) {
      const std::string_view name = content.arena.keep(to_view(input.headers[i].name));
      const std::string_view value = content.arena.keep(to_view(input.headers[i].value));
      content.headers.emplace_back(name, value);
    }
    content.document.load(to_view(input.body));
    mailbox_.push_back(std::move(reply));
  }

  Reply* find_reply(std::uint64_t id) {
    for (Reply& reply : mailbox_) {
      if (reply.request_id() == id) return &reply;
    }
    return nullptr;
  }

  Reply collect_reply(std::uint64_t id) {
    for (std::size_t i = 0; i < mailbox_.size(); ++i) {
      if (mailbox_[i].request_id() != id) continue;
      Reply reply = std::move(mailbox_[i]);
      mailbox_.erase(mailbox_.begin() + static_cast<std::ptrdiff_t>(i));
      return reply;
    }
    throw std::logic_error("a request's reply was awaited twice");
  }

  void give_back(std::unique_ptr<Reply::Content> content) noexcept {
#if defined(__SANITIZE_ADDRESS__)
    return;  // so that who still looks into a reply that is gone is told
#endif
    constexpr std::size_t kSpareMax = 8;
    if (spare_.size() < kSpareMax && spare_.capacity() > spare_.size())
      spare_.push_back(std::move(content));
  }

  // ---- the sink ----

  /// Did the sink take it, and may we go on? Throws for errors.
  bool goes_on(sluice_status status) {
    if (status == SLUICE_OK) return true;
    if (status != SLUICE_STOP) throw ContractError{status < 0 ? status : SLUICE_E_INTERNAL};
    stopped_ = true;
    return false;
  }

  void put(sluice_record record) {
    if (host_minor_ < kMinorOfWhole) record.flags &= ~SLUICE_RECORD_WHOLE;
    goes_on(sink_->record(sink_->ctx, &record));
  }

  struct HeldBack {
    sluice_request request{};
    std::string target;
    std::string body;
    std::vector<std::pair<std::string, std::string>> texts;
  };

  std::uint64_t send(sluice_request request) {
    request.struct_size = sizeof(sluice_request);
    if (request.id == 0) request.id = ++last_request_;
    outstanding_.push_back(request.id);
    if (!stopped_) {
      goes_on(sink_->request(sink_->ctx, &request));
      return request.id;
    }
    HeldBack held;
    held.request = request;
    held.target = to_view(request.target);
    held.body = to_view(request.body);
    for (std::uint32_t i = 0; i < request.header_count; ++i) {
      held.texts.emplace_back(to_view(request.headers[i].name), to_view(request.headers[i].value));
    }
    held_back_.push_back(std::move(held));
    return request.id;
  }

  void send_held_back() {
    while (!held_back_.empty() && !stopped_) {
      HeldBack& held = held_back_.front();
      fill_headers(held.texts);
      held.request.target = to_bytes(held.target);
      held.request.body = to_bytes(held.body);
      held.request.headers = headers_.data();
      goes_on(sink_->request(sink_->ctx, &held.request));
      held_back_.erase(held_back_.begin());
    }
  }

  void fill_headers(const std::vector<std::pair<std::string, std::string>>& texts) {
    headers_.clear();
    for (const auto& [name, value] : texts) {
      sluice_header header;
      header.name = to_bytes(name);
      header.value = to_bytes(value);
      headers_.push_back(header);
    }
  }

  sluice_status fail(sluice_failure_class failure_class, std::string_view message,
                     std::string_view vendor_code, std::int64_t retry_after_ms) noexcept {
    constexpr std::size_t kMessageMax = 1024;
    constexpr std::size_t kCodeMax = 128;
    sluice_failure failure{};
    failure.struct_size = sizeof(failure);
    failure.failure_class = failure_class;
    failure.retry_after_ms = retry_after_ms;
    failure.vendor_code = to_bytes(cut_utf8(vendor_code, kCodeMax));
    failure.message = to_bytes(cut_utf8(message, kMessageMax));
    const sluice_status status = sink_->fail(sink_->ctx, &failure);
    return status < 0 ? status : SLUICE_STEP_FAILED;
  }

  static constexpr std::uint16_t kMinorOfWhole = 2;

  std::uint16_t host_minor_;
  sluice_open_args args_;
  std::vector<std::string_view> ids_;
  json::Document config_;
  std::vector<std::unique_ptr<Reply::Content>> spare_ = with_room();
  std::unique_ptr<Connector> connector_;
  detail::Line line_;
  Task<> operation_;

  const sluice_sink* sink_ = nullptr;
  std::int64_t now_ms_ = 0;
  std::uint8_t entropy_[16] = {};
  std::int64_t wake_at_ms_ = 0;
  Waits waits_ = Waits::start;
  bool stopped_ = false;    ///< the sink said STOP in this step
  bool owes_more_ = false;  ///< the last step ended with MORE
  std::uint64_t awaited_ = 0;
  std::uint64_t last_request_ = 0;
  std::vector<std::uint64_t> outstanding_;
  std::vector<Reply> mailbox_;
  std::vector<HeldBack> held_back_;
  std::vector<sluice_header> headers_;

  static std::vector<std::unique_ptr<Reply::Content>> with_room() {
    std::vector<std::unique_ptr<Reply::Content>> spare;
    spare.reserve(8);
    return spare;
  }
};

inline bool Sent::await_ready() const noexcept { return !session->stopped_; }
inline void Sent::await_suspend(std::coroutine_handle<>) const noexcept {
  session->waits_ = Session::Waits::go_on;
}

inline bool Awaited::await_ready() const { return session->find_reply(id) != nullptr; }
inline void Awaited::await_suspend(std::coroutine_handle<>) const noexcept {
  session->awaited_ = id;
  session->waits_ = Session::Waits::reply;
}
inline Reply Awaited::await_resume() const { return session->collect_reply(id); }

inline bool Slept::await_ready() const noexcept { return session->now_ms_ >= until; }
inline void Slept::await_suspend(std::coroutine_handle<>) const noexcept {
  session->wake_at_ms_ = until;
  session->waits_ = Session::Waits::timer;
}

inline Reply::~Reply() {
  if (content_ != nullptr && session_ != nullptr) session_->give_back(std::move(content_));
}

/// Sends GET `target` to the manifest's first host with its first credential, at once; co_await
/// gives the Reply. SLUICE_REQUESTS_OUTSTANDING_MAX may be under way: start so many, and the next
/// when one was awaited.
inline Awaited Connector::get(std::string_view target) {
  sluice_request request{};
  request.method = SLUICE_GET;
  request.flags = SLUICE_REQUEST_IDEMPOTENT;
  request.target = to_bytes(target);
  return send(request);
}

/// Any request. `id` 0 lets the session number it. set_header() headers are put on when it brings
/// none.
inline Awaited Connector::send(const sluice_request& request) {
  sluice_request filled = request;
  if (filled.header_count == 0) {
    session_->fill_headers(headers_);
    filled.headers = session_->headers_.data();
    filled.header_count = static_cast<std::uint32_t>(session_->headers_.size());
  }
  return Awaited{session_, session_->send(filled)};
}

/// Puts the record out. It was copied when this returns: the record may begin() anew.
inline Sent Connector::emit(const Record& record) {
  session_->put(record.view());
  return Sent{session_};
}

/// Says that something changed (SLUICE_NOTICE_*); observed_at_us 0: unknown.
inline Sent Connector::notify(std::uint32_t type, std::string_view external_id, std::int32_t kind,
                              std::int64_t observed_at_us, std::string_view merged_into) {
  sluice_notice notice{};
  notice.struct_size = sizeof(notice);
  notice.type = type;
  notice.external_id = to_bytes(external_id);
  notice.kind = kind;
  notice.observed_at = observed_at_us;
  notice.merged_into = to_bytes(merged_into);
  session_->goes_on(session_->sink_->notice(session_->sink_->ctx, &notice));
  return Sent{session_};
}

/// These are all entities of `type` whose `attribute` equals `equals`.
inline Sent Connector::complete_set(std::uint32_t type, std::uint32_t attribute,
                                    std::string_view equals, const Ids& ids) {
  sluice_complete_set set{};
  set.struct_size = sizeof(set);
  set.type = type;
  set.attribute = attribute;
  set.id_count = static_cast<std::uint32_t>(ids.size());
  set.equals = to_bytes(equals);
  set.ids = ids.bytes().data();
  session_->goes_on(session_->sink_->complete_set(session_->sink_->ctx, &set));
  return Sent{session_};
}

/// Replaces the stream's checkpoint: everything put out so far is covered by it. READ only, 4096
/// bytes at most.
inline Sent Connector::checkpoint(std::string_view text) {
  if (text.size() > SLUICE_CHECKPOINT_BYTES_MAX) {
    throw Failure(SLUICE_FAIL_INTERNAL, "a checkpoint of " + std::to_string(text.size()) +
                                            " bytes; the contract allows 4096");
  }
  session_->goes_on(session_->sink_->checkpoint(session_->sink_->ctx, to_bytes(text)));
  return Sent{session_};
}

/// The JSON answer of CHECK, DISCOVER or SUBSCRIBE; exactly once.
inline Sent Connector::result(std::string_view json) {
  session_->goes_on(session_->sink_->result(session_->sink_->ctx, to_bytes(json)));
  return Sent{session_};
}

/// A line for the connector's author (SLUICE_LOG_*). Never payloads, never personal data.
inline Sent Connector::log(std::int32_t level, std::string_view message) {
  session_->goes_on(session_->sink_->log(session_->sink_->ctx, level, to_bytes(message)));
  return Sent{session_};
}

/// How many records there will be in all, when the vendor says so.
inline Sent Connector::total(std::int64_t records) {
  if (session_->sink_->total != nullptr) {
    session_->goes_on(session_->sink_->total(session_->sink_->ctx, records));
  }
  return Sent{session_};
}

/// Waits for the clock, without holding anything up.
inline Slept Connector::wait_until(std::int64_t wake_at_ms) { return Slept{session_, wake_at_ms}; }

inline std::int64_t Connector::now_ms() const { return session_->now_ms_; }

inline std::span<const std::uint8_t, 16> Connector::entropy() const {
  return std::span<const std::uint8_t, 16>(session_->entropy_);
}

inline std::uint32_t Connector::page_size(std::uint32_t most) const {
  const std::uint32_t wish = session_->args_.page_size;
  return wish == 0 || wish > most ? most : wish;
}

inline std::optional<std::string_view> Connector::delivery_header(std::string_view name) const {
  for (std::uint32_t i = 0; i < session_->args_.header_count; ++i) {
    const sluice_header& header = session_->args_.headers[i];
    if (equal_ignoring_case(to_view(header.name), name)) return to_view(header.value);
  }
  return std::nullopt;
}

inline sluice_failure_class Connector::class_of(int status) {
  switch (status) {
    case 401:
      return SLUICE_FAIL_AUTH;
    case 403:
      return SLUICE_FAIL_PERMISSION;
    case 429:
      return SLUICE_FAIL_RATE_LIMITED;
    case 0:
    case 408:
    case 409:
    case 425:
      return SLUICE_FAIL_UPSTREAM_TRANSIENT;
    default:
      break;
  }
  if (status >= 500) return SLUICE_FAIL_UPSTREAM_TRANSIENT;
  if (status >= 400) return SLUICE_FAIL_UPSTREAM_PERMANENT;
  return SLUICE_FAIL_BAD_DATA;  // a success or redirect where it makes no sense
}

inline Failure Connector::failure_of(Reply& reply, std::string_view vendor) const {
  std::string message(vendor);
  if (reply.status() == 0) {
    message += " did not answer: ";
    message += reply.body();
  } else {
    message += " answered with HTTP status " + std::to_string(reply.status());
  }
  const auto retry_after = reply.header("Retry-After");
  const std::int64_t retry_after_ms =
      retry_after ? parse_retry_after_ms(*retry_after, now_ms()) : 0;
  // A permission that comes back by itself is none: so GitHub and others say "too fast".
  const bool too_fast = reply.status() == 403 && retry_after_ms > 0;
  return Failure(too_fast ? SLUICE_FAIL_RATE_LIMITED : class_of(reply.status()), message,
                 std::to_string(reply.status()), retry_after_ms);
}

namespace detail {

/// Reads a struct of another version: copies what both sides know. Of an older host's smaller one
/// the rest is zero, which means the old behaviour; SLUICE_E_TOO_NEW when a newer host's larger one
/// uses what this side does not know.
template <class T>
sluice_status accept(const T* from, T& to, std::uint32_t size_1_0) noexcept {
  if (from == nullptr || from->struct_size < size_1_0) return SLUICE_E_ARG;
  const std::size_t size = from->struct_size;
  const auto* bytes = reinterpret_cast<const unsigned char*>(from);
  for (std::size_t at = sizeof(T); at < size; ++at) {
    if (bytes[at] != 0) return SLUICE_E_TOO_NEW;
  }
  to = T{};
  std::memcpy(&to, bytes, size < sizeof(T) ? size : sizeof(T));
  to.struct_size = sizeof(T);
  return SLUICE_OK;
}

template <class ConnectorType>
sluice_status open(const sluice_host* host, const sluice_open_args* args,
                   sluice_session** session) noexcept {
  sluice_host known_host;
  sluice_open_args known_args;
  if (session == nullptr) return SLUICE_E_ARG;
  *session = nullptr;
  if (const sluice_status status = accept(host, known_host, SLUICE_HOST_SIZE_1_0);
      status != SLUICE_OK)
    return status;
  if (known_host.abi_major != SLUICE_ABI_MAJOR) return SLUICE_E_UNSUPPORTED;
  if (const sluice_status status = accept(args, known_args, SLUICE_OPEN_ARGS_SIZE_1_0);
      status != SLUICE_OK)
    return status;
  try {
    auto made =
        std::make_unique<Session>(known_host, known_args, std::make_unique<ConnectorType>());
    *session = reinterpret_cast<sluice_session*>(made.release());
    return SLUICE_OK;
  } catch (const std::bad_alloc&) {
    return SLUICE_E_MEMORY;
  } catch (...) {
    return SLUICE_E_INTERNAL;
  }
}

inline sluice_status step(sluice_session* session, const sluice_input* input,
                          const sluice_sink* sink, std::int64_t* wake_at_ms) noexcept {
  sluice_input known_input;
  sluice_sink known_sink;
  if (session == nullptr) return SLUICE_E_ARG;
  if (const sluice_status status = accept(input, known_input, SLUICE_INPUT_SIZE_1_0);
      status != SLUICE_OK)
    return status;
  // A newer host's sink has more functions than this connector will call: that is no reason to
  // refuse it.
  if (sink == nullptr || sink->struct_size < SLUICE_SINK_SIZE_1_0) return SLUICE_E_ARG;
  known_sink = sluice_sink{};
  std::memcpy(&known_sink, sink,
              sink->struct_size < sizeof(known_sink) ? sink->struct_size : sizeof(known_sink));
  return reinterpret_cast<Session*>(session)->step(known_input, known_sink, wake_at_ms);
}

inline void close(sluice_session* session) noexcept { delete reinterpret_cast<Session*>(session); }

inline const void* no_extension(sluice_bytes) noexcept { return nullptr; }

}  // namespace detail
}  // namespace sluice::sdk

#ifndef SLUICE_CONNECTOR_REQUIRED_MINOR
#define SLUICE_CONNECTOR_REQUIRED_MINOR 0
#endif

/// The note that sluice_add_connector() puts into the file; the entry points at the same bytes.
extern "C" {
__attribute__((visibility("hidden"))) extern const std::uint8_t sluice_manifest_begin[];
}

/// Exports the connector; once, in one source file, at namespace scope, behind #include
/// "<name>_manifest.hpp", which sluice_add_connector() writes from manifest.json.
#define SLUICE_CONNECTOR(TYPE)                             \
  extern "C" const sluice_entry_v1 sluice_connector_v1 = { \
      sizeof(sluice_entry_v1),                             \
      SLUICE_ABI_MAJOR,                                    \
      SLUICE_ABI_MINOR,                                    \
      SLUICE_CONNECTOR_REQUIRED_MINOR,                     \
      0,                                                   \
      0,                                                   \
      sluice_manifest_begin,                               \
      manifest::kSize,                                     \
      &::sluice::sdk::detail::open<TYPE>,                  \
      &::sluice::sdk::detail::step,                        \
      &::sluice::sdk::detail::close,                       \
      &::sluice::sdk::detail::no_extension,                \
  };
