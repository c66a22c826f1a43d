#include "fetch/curl_multi.hpp"

#include <curl/curl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <tuple>
#include <unordered_set>

#include "base/check.hpp"
#include "base/log.hpp"
#include "fetch/answer_head.hpp"
#include "fetch/inflate.hpp"
#include "fetch/lookup.hpp"

namespace sluice::fetch {
namespace {

using SteadyClock = std::chrono::steady_clock;
using TimePoint = SteadyClock::time_point;
using std::chrono::milliseconds;

constexpr std::size_t kBodyPadding = 64;
constexpr std::uint64_t kRatioFreeBytes = 64 << 10;
constexpr std::size_t kSpareHandlesMax = 64;
constexpr long kReadBytesMax = 64 << 10;
constexpr milliseconds kLooksApart{100};

enum class Phase { connecting, tls, headers, body };

/// Its lines are curl's memory, which is wiped when it goes back.
struct HeaderListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, HeaderListDeleter>;

void append(HeaderList& list, const char* line) {
  curl_slist* longer = curl_slist_append(list.get(), line);
  if (longer == nullptr) throw std::bad_alloc();
  (void)list.release();
  list.reset(longer);
}

std::string shown(milliseconds span) {
  return span.count() % 1000 == 0 ? fmt::format("{} s", span.count() / 1000)
                                  : fmt::format("{} ms", span.count());
}

template <class Value>
void set(CURL* easy, CURLoption option, Value value) {
  const CURLcode code = curl_easy_setopt(easy, option, value);
  if (code != CURLE_OK) {
    throw Failure(Error(ErrorKind::internal, "fetch.curl.option",
                        fmt::format("libcurl refused option {}: {}", static_cast<int>(option),
                                    curl_easy_strerror(code)),
                        "this build of libcurl lacks something Sluice needs"));
  }
}

template <class Value>
Value info(CURL* easy, CURLINFO what) {
  Value value{};
  curl_easy_getinfo(easy, what, &value);
  return value;
}

/// Whether the peer ended its side of TLS by close_notify. The session has a part in it, which may
/// outlive its transfer: newer libcurls go on ending a connection when nobody needs it any more.
struct Goodbye {
  bool said = false;
};
using SharedGoodbye = std::shared_ptr<Goodbye>;

void forget_goodbye(void*, void* shared, CRYPTO_EX_DATA*, int, long, void*) {
  delete static_cast<SharedGoodbye*>(shared);
}

/// Where a TLS session keeps its part; one for the process, as OpenSSL has it.
int tls_slot() {
  static const int slot = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, &forget_goodbye);
  return slot;
}

std::optional<asio::ip::tcp::endpoint> to_endpoint(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    sockaddr_in four{};
    std::memcpy(&four, address, sizeof four);
    const asio::ip::address_v4 where(ntohl(four.sin_addr.s_addr));
    return asio::ip::tcp::endpoint(where, ntohs(four.sin_port));
  }
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 six{};
    std::memcpy(&six, address, sizeof six);
    asio::ip::address_v6::bytes_type bytes;
    std::memcpy(bytes.data(), &six.sin6_addr, bytes.size());
    const asio::ip::address_v6 where(bytes, six.sin6_scope_id);
    return asio::ip::tcp::endpoint(where, ntohs(six.sin6_port));
  }
  return std::nullopt;
}

/// One transfer from perform() to its end. Curl's callbacks for it get a pointer to it.
struct Transfer {
  Transfer(const Executor& executor, RawRequest r, const CurlOptions& o, bool proxy)
      : request(std::move(r)), options(o), through_proxy(proxy), bell(executor) {}

  RawRequest request;
  const CurlOptions& options;
  bool through_proxy;  ///< then the proxy is what is dialled, and it is the operator's
  asio::steady_timer
      bell;              ///< wakes perform(): the end, a deadline, or a deadline that came nearer
  CURL* easy = nullptr;  ///< null once it has ended
  HeaderList lines;
  HeaderList pins;
  std::array<char, CURL_ERROR_SIZE> detail{};

  Phase phase = Phase::connecting;
  TimePoint started, phase_started;
  TimePoint armed = TimePoint::max();
  curl_off_t bytes_sent = 0;  ///< of the request's body, when last looked
  bool poked = false;
  bool sent = false;

  RawResponse response;
  AnswerHead head;
  std::size_t header_bytes = 0;
  SharedGoodbye goodbye;               ///< once it was listened for
  std::optional<Inflater> inflater;    ///< when the body is compressed
  std::vector<curl_socket_t> dialled;  ///< one after the other, or IPv6 and IPv4 side by side
  std::optional<Error> failure;        ///< why a callback ended it
  std::string refused;                 ///< addresses that were not dialled
  bool refused_own = false;            ///< … one of them for being this host's
  bool done = false;
  std::optional<Result<RawResponse>> result;

  [[nodiscard]] milliseconds phase_limit() const {
    switch (phase) {
      case Phase::connecting:
        return request.deadlines.connect;
      case Phase::tls:
        return request.deadlines.tls;
      case Phase::headers:
        return request.deadlines.headers;
      case Phase::body:
        return request.deadlines.idle;
    }
    return request.deadlines.total;
  }
  [[nodiscard]] TimePoint deadline() const {
    return std::min(phase_started + phase_limit(), started + request.deadlines.total);
  }
  /// Before the deadline; see Core::look_at_the_clock().
  [[nodiscard]] TimePoint next_look() const {
    if (phase != Phase::connecting) return TimePoint::max();
    return SteadyClock::now() + std::max(request.deadlines.connect / 16, kLooksApart);
  }
  void enter(Phase next) {
    phase = next;
    phase_started = SteadyClock::now();
    if (deadline() < armed) {
      poked = true;
      bell.cancel();
    }
  }
  void stop(ErrorKind kind, std::string code, std::string message, std::string hint) {
    if (!failure) failure = Error(kind, std::move(code), std::move(message), std::move(hint));
  }
  /// True when the address may be used; else notes the reason.
  bool admit(const asio::ip::address& address, std::uint16_t port) {
    if (through_proxy) return true;
    if (const auto own =
            options.own ? options.own->at(address, port, options.nat64) : std::nullopt) {
      refused_own = true;
      note_refused(fmt::format("{} port {} ({})", address.to_string(), port, *own));
      return false;
    }
    const auto reason = address_refusal(address, request.addresses, options.nat64);
    if (!reason) return true;
    note_refused(fmt::format("{} ({})", address.to_string(), *reason));
    return false;
  }
  void note_refused(const std::string& what) {
    if (!refused.empty()) refused += ", ";
    refused += what;
  }
};

// --- curl's callbacks. None may throw through C (noexcept: out of memory ends the process), and
// none may end a transfer: they note why and tell curl to.

curl_socket_t on_open_socket(void* user, curlsocktype, curl_sockaddr* to) noexcept {
  auto& transfer = *static_cast<Transfer*>(user);
  const auto where = to_endpoint(&to->addr);
  if (!where || !transfer.admit(where->address(), where->port())) return CURL_SOCKET_BAD;
  const curl_socket_t made = ::socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
  if (made != CURL_SOCKET_BAD) transfer.dialled.push_back(made);
  return made;
}

int on_request(void* user, char* peer, char*, int port, int) noexcept {
  auto& transfer = *static_cast<Transfer*>(user);
  boost::system::error_code malformed;
  const auto address = asio::ip::make_address(peer, malformed);
  if (malformed || !transfer.admit(address, static_cast<std::uint16_t>(port)))
    return CURL_PREREQFUNC_ABORT;
  transfer.sent = true;
  transfer.enter(Phase::headers);
  return CURL_PREREQFUNC_OK;
}

/// Sees the peer's close_notify, which libcurl does not tell from a connection that just ended.
void on_tls_event(const SSL* tls, int where, int what) noexcept {
  if ((where & SSL_CB_READ_ALERT) != SSL_CB_READ_ALERT || (what & 0xff) != SSL_AD_CLOSE_NOTIFY)
    return;
  if (auto* const shared = static_cast<SharedGoodbye*>(SSL_get_ex_data(tls, tls_slot())))
    (*shared)->said = true;
}

/// For an answer that ends where its connection does: no other transfer follows on that one.
void listen_for_goodbye(Transfer& transfer) {
  const auto* const session = info<curl_tlssessioninfo*>(transfer.easy, CURLINFO_TLS_SSL_PTR);
  if (session == nullptr || session->backend != CURLSSLBACKEND_OPENSSL ||
      session->internals == nullptr)
    return;
  auto* const tls = static_cast<SSL*>(session->internals);
  transfer.goodbye = std::make_shared<Goodbye>();
  transfer.goodbye->said = (SSL_get_shutdown(tls) & SSL_RECEIVED_SHUTDOWN) != 0;
  auto shared = std::make_unique<SharedGoodbye>(transfer.goodbye);
  if (SSL_set_ex_data(tls, tls_slot(), shared.get()) != 1) return;
  std::ignore = shared.release();  // the session's
  SSL_set_info_callback(tls, &on_tls_event);
}

void stop_at_response_bytes_max(Transfer& transfer) {
  transfer.stop(ErrorKind::unsupported, "fetch.limit.response_bytes_max",
                fmt::format("response body is larger than response_bytes_max {}",
                            transfer.request.limits.response_bytes_max),
                "ask for smaller pages, or raise the limit");
}

std::size_t on_header(char* data, std::size_t, std::size_t size, void* user) noexcept {
  auto& transfer = *static_cast<Transfer*>(user);
  transfer.header_bytes += size;
  if (transfer.header_bytes > transfer.request.limits.header_bytes_max) {
    transfer.stop(ErrorKind::unsupported, "fetch.limit.header_bytes_max",
                  fmt::format("response headers are larger than header_bytes_max {}",
                              transfer.request.limits.header_bytes_max),
                  "no vendor needs that; ask them, or raise the limit");
    return 0;
  }
  if (transfer.phase == Phase::body) return size;  // trailers: counted, not kept
  auto next = transfer.head.take({data, size});
  if (!next) {
    transfer.failure = std::move(next.error());
    return 0;
  }
  if (*next == AnswerHead::Part::head) return size;
  transfer.enter(Phase::body);
  if (transfer.head.is_compressed()) transfer.inflater.emplace();
  if (transfer.head.framing() == Framing::connection_end) listen_for_goodbye(transfer);
  // A body that says itself that it is too large is not read at all.
  if (transfer.head.length() <= transfer.request.limits.response_bytes_max) return size;
  stop_at_response_bytes_max(transfer);
  return 0;
}

/// Appends what on_body received, inflated, within the limits.
bool keep_body(void* user, std::string_view piece) {
  auto& transfer = *static_cast<Transfer*>(user);
  std::string& body = transfer.response.body;
  const TransferLimits& limits = transfer.request.limits;
  const std::uint64_t after = body.size() + piece.size();
  if (after > limits.response_bytes_max) {
    stop_at_response_bytes_max(transfer);
    return false;
  }
  if (after > kRatioFreeBytes &&
      after / limits.inflate_ratio_max > transfer.response.bytes_received) {
    transfer.stop(
        ErrorKind::unsupported, "fetch.limit.inflate_ratio_max",
        fmt::format("response body inflates to more than {} times its size (inflate_ratio_max)",
                    limits.inflate_ratio_max),
        "no honest page compresses that well; the transfer was ended");
    return false;
  }
  if (body.empty()) {
    const auto announced = info<curl_off_t>(transfer.easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T);
    const std::uint64_t wanted =
        std::max(announced > 0 ? static_cast<std::uint64_t>(announced) : 0, after);
    body.reserve(std::min(wanted, limits.response_bytes_max) + kBodyPadding);
  }
  body.append(piece);
  return true;
}

std::size_t on_body(char* data, std::size_t, std::size_t size, void* user) noexcept {
  auto& transfer = *static_cast<Transfer*>(user);
  transfer.phase_started = SteadyClock::now();
  transfer.response.bytes_received += size;
  try {
    if (!transfer.inflater) return keep_body(user, {data, size}) ? size : 0;
    if (transfer.inflater->feed({data, size}, &keep_body, user) == Inflater::Outcome::more)
      return size;
  } catch (const std::bad_alloc&) {
    transfer.stop(ErrorKind::retry_later, "fetch.limit.memory", "no memory for the response body",
                  "");
    return 0;
  }
  transfer.stop(ErrorKind::unknown_outcome, "fetch.transport.encoding",
                "the response body is broken gzip",
                "the vendor or something between sent a damaged body");
  return 0;
}

// Curl's memory, which holds whole requests with their credentials, is wiped when it goes back.
char* duplicate(const char* text) noexcept { return ::strdup(text); }
void* allocate_zeroed(std::size_t count, std::size_t size) noexcept {
  return std::calloc(count, size);
}

/// curl_global_init counts its callers; each CurlMulti holds one.
struct Global {
  Global() {
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, &allocate_memory, &free_wiped, &reallocate_memory,
                             &duplicate, &allocate_zeroed) != CURLE_OK) {
      throw Failure(Error(ErrorKind::internal, "fetch.curl.init", "libcurl cannot start"));
    }
  }
  ~Global() { curl_global_cleanup(); }
  Global(const Global&) = delete;
  Global& operator=(const Global&) = delete;
};

}  // namespace

struct CurlMulti::Core : std::enable_shared_from_this<Core> {
  /// A socket that curl asked us to watch. Handlers hold it and see `gone` when curl let go
  /// meanwhile.
  struct Watch {
    Watch(const Executor& executor, curl_socket_t fd) : descriptor(executor, fd), socket(fd) {}
    asio::posix::stream_descriptor descriptor;
    curl_socket_t socket;
    int wanted = 0;
    bool reading = false, writing = false, gone = false;
  };

  Core(Executor e, CurlOptions o) : executor(std::move(e)), options(std::move(o)), timer(executor) {
    multi = curl_multi_init();
    if (multi == nullptr) throw std::bad_alloc();
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, &on_socket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, this);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, &on_timer);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, this);
    curl_multi_setopt(multi, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_MULTIPLEX));
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, options.idle_connections_max);
  }
  ~Core() { close(); }
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  void close() {
    if (multi == nullptr) return;
    while (!active.empty()) {
      Transfer& transfer = **active.begin();
      end(transfer, fail(ErrorKind::cancelled, "fetch.cancelled",
                         "the client was shut down during the transfer"));
    }
    for (CURL* easy : spare) curl_easy_cleanup(easy);
    spare.clear();
    CURLM* const ended = std::exchange(multi, nullptr);
    curl_multi_cleanup(ended);
    for (auto& [fd, watch] : watches) forget(*watch);
    watches.clear();
    ++timer_generation;
    timer.cancel();
  }

  // --- sockets and the timer

  // Nothing may be thrown through curl. A socket that the kernel will not watch is one from which
  // nothing comes: the transfer ends by its deadline. Out of memory ends the process.
  static int on_socket(CURL*, curl_socket_t fd, int what, void* user, void*) noexcept {
    try {
      static_cast<Core*>(user)->watch(fd, what);
    } catch (const boost::system::system_error& error) {
      log::warning("fetch.socket_not_watched", {{"error", error.what()}});
    }
    return 0;
  }
  static int on_timer(CURLM*, long timeout_ms, void* user) noexcept {
    static_cast<Core*>(user)->set_timer(timeout_ms);
    return 0;
  }

  void watch(curl_socket_t fd, int what) {
    const auto found = watches.find(fd);
    if (what == CURL_POLL_REMOVE) {
      if (found == watches.end()) return;
      forget(*found->second);
      watches.erase(found);
      return;
    }
    if (multi == nullptr) return;
    std::shared_ptr<Watch> slot =
        found == watches.end() ? std::make_shared<Watch>(executor, fd) : found->second;
    watches.insert_or_assign(fd, slot);
    slot->wanted = what;
    arm(slot);
  }

  /// The descriptor is curl's: it is let go, never closed.
  static void forget(Watch& watch) {
    watch.gone = true;
    watch.descriptor.release();
  }

  void arm(const std::shared_ptr<Watch>& watch) {
    if ((watch->wanted & CURL_POLL_IN) != 0 && !watch->reading) {
      watch->reading = true;
      watch->descriptor.async_wait(
          asio::posix::descriptor_base::wait_read,
          [weak = weak_from_this(), watch](boost::system::error_code error) {
            watch->reading = false;
            if (auto core = weak.lock()) core->ready(watch, CURL_CSELECT_IN, error);
          });
    }
    if ((watch->wanted & CURL_POLL_OUT) != 0 && !watch->writing) {
      watch->writing = true;
      watch->descriptor.async_wait(
          asio::posix::descriptor_base::wait_write,
          [weak = weak_from_this(), watch](boost::system::error_code error) {
            watch->writing = false;
            if (auto core = weak.lock()) core->ready(watch, CURL_CSELECT_OUT, error);
          });
    }
  }

  void ready(const std::shared_ptr<Watch>& watch, int event, boost::system::error_code error) {
    if (multi == nullptr || watch->gone || error == asio::error::operation_aborted) return;
    const int wanted = event == CURL_CSELECT_IN ? CURL_POLL_IN : CURL_POLL_OUT;
    if ((watch->wanted & wanted) == 0) return;  // curl lost interest after we had begun to wait
    drive(watch->socket, error ? CURL_CSELECT_ERR : event);
    if (multi != nullptr && !watch->gone) arm(watch);
  }

  void set_timer(long timeout_ms) {
    ++timer_generation;
    if (timeout_ms < 0 || multi == nullptr) {
      timer.cancel();
      return;
    }
    timer.expires_after(milliseconds(timeout_ms));
    timer.async_wait(
        [weak = weak_from_this(), generation = timer_generation](boost::system::error_code) {
          const auto core = weak.lock();
          if (!core || core->multi == nullptr || core->timer_generation != generation) return;
          core->drive(CURL_SOCKET_TIMEOUT, 0);
        });
  }

  void drive(curl_socket_t fd, int events) {
    int running = 0;
    curl_multi_socket_action(multi, fd, events, &running);
    end_what_is_done();
  }

  void end_what_is_done() {
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;
      char* user = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &user);
      auto& transfer = *reinterpret_cast<Transfer*>(user);
      end(transfer, outcome(transfer, code));
    }
  }

  // --- one transfer

  [[nodiscard]] bool through_proxy(const RawRequest& request) const {
    return request.route == Route::outward && !options.proxy.empty();
  }

  void begin(Transfer& transfer) {
    if (spare.empty()) {
      transfer.easy = curl_easy_init();
      if (transfer.easy == nullptr) throw std::bad_alloc();
    } else {
      transfer.easy = spare.back();
      spare.pop_back();
    }
    try {
      prepare(transfer);
    } catch (...) {
      curl_easy_cleanup(std::exchange(transfer.easy, nullptr));
      throw;
    }
    transfer.started = transfer.phase_started = SteadyClock::now();
    active.insert(&transfer);
    if (curl_multi_add_handle(multi, transfer.easy) != CURLM_OK) {
      end(transfer, fail(ErrorKind::internal, "fetch.curl.add", "libcurl refused the transfer"));
    }
  }

  void prepare(Transfer& transfer) {
    CURL* const easy = transfer.easy;
    RawRequest& request = transfer.request;
    set(easy, CURLOPT_PRIVATE, static_cast<void*>(&transfer));
    set(easy, CURLOPT_ERRORBUFFER, transfer.detail.data());
    set(easy, CURLOPT_NOSIGNAL, 1L);
    set(easy, CURLOPT_NOPROGRESS, 1L);
    set(easy, CURLOPT_BUFFERSIZE, kReadBytesMax);
    set(easy, CURLOPT_QUICK_EXIT, 1L);  // a cancelled name lookup must not block the loop
    // Where to: nothing but what the URL says.
    set(easy, CURLOPT_PROTOCOLS_STR, request.plain_http ? "http,https" : "https");
    set(easy, CURLOPT_REDIR_PROTOCOLS_STR, "https");
    set(easy, CURLOPT_FOLLOWLOCATION, 0L);
    set(easy, CURLOPT_PROXY, through_proxy(request) ? options.proxy.c_str() : "");
    if (through_proxy(request)) {
      // A tunnel also for http, so that the proxy sees no request and no credential.
      set(easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
      set(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
      if (!options.ca_file.empty()) set(easy, CURLOPT_PROXY_CAINFO, options.ca_file.c_str());
    }
    set(easy, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    set(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    set(easy, CURLOPT_PATH_AS_IS, 1L);
    WipedText url(request.url);
    if (!request.secret_query.empty()) {
      url += request.url.find('?') == std::string::npos ? '?' : '&';
      url += request.secret_query.view();
    }
    set(easy, CURLOPT_URL, url.c_str());
    set(easy, CURLOPT_OPENSOCKETFUNCTION, &on_open_socket);
    set(easy, CURLOPT_OPENSOCKETDATA, static_cast<void*>(&transfer));
    set(easy, CURLOPT_PREREQFUNCTION, &on_request);
    set(easy, CURLOPT_PREREQDATA, static_cast<void*>(&transfer));
    // Of this curl gives the first of several addresses half, the next one half of the rest …: it
    // must be little more than our deadline, which would else end the transfer at the first.
    const milliseconds connect = request.deadlines.connect;
    set(easy, CURLOPT_CONNECTTIMEOUT_MS,
        static_cast<long>((connect + std::max(connect / 8, milliseconds(100))).count()));
    for (const std::string& pin : options.pins) append(transfer.pins, pin.c_str());
    if (transfer.pins) set(easy, CURLOPT_RESOLVE, transfer.pins.get());
    set(easy, CURLOPT_NOPROXY,
        "");  // or the environment's would turn off fetch.proxy, and the policy
    // How: TLS 1.2 or later with verified names; HTTP/1.1, because HTTP/2 keeps credentials in the
    // tables and copies of its own library, where nobody can wipe them.
    set(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    set(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    set(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    if (!options.ca_file.empty()) set(easy, CURLOPT_CAINFO, options.ca_file.c_str());
    set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    if (request.fresh_connection) set(easy, CURLOPT_FRESH_CONNECT, 1L);
    // What: method, headers, body.
    set(easy, CURLOPT_USERAGENT, options.user_agent.c_str());
    if (request.method == "GET") {
      set(easy, CURLOPT_HTTPGET, 1L);
    } else {
      set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      set(easy, CURLOPT_POSTFIELDS, request.body.c_str());
      if (request.method == "DELETE" && request.body.empty()) set(easy, CURLOPT_HTTPGET, 1L);
      set(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    }
    bool has_type = false;
    std::string line;
    for (const auto& [name, value] : request.headers) {
      has_type |= curl_strequal(name.c_str(), "content-type") != 0;
      line.clear();
      line.reserve(name.size() + value.size() + 2);
      line += name;
      line += value.empty() ? ";" : ": ";  // curl's way to write an empty value
      line += value;
      append(transfer.lines, line.c_str());
    }
    if (!request.secret_header.empty()) append(transfer.lines, request.secret_header.c_str());
    if (!has_type)
      append(transfer.lines, "Content-Type:");  // none is sent rather than curl's guess
    append(transfer.lines, "Expect:");
    append(transfer.lines, "Accept-Encoding: gzip");
    set(easy, CURLOPT_HTTPHEADER, transfer.lines.get());
    // Back.
    set(easy, CURLOPT_HEADERFUNCTION, &on_header);
    set(easy, CURLOPT_HEADERDATA, static_cast<void*>(&transfer));
    set(easy, CURLOPT_WRITEFUNCTION, &on_body);
    set(easy, CURLOPT_WRITEDATA, static_cast<void*>(&transfer));
  }

  static Result<RawResponse> outcome(Transfer& transfer, CURLcode code) {
    if (transfer.failure) return std::unexpected(std::move(*transfer.failure));
    if (code != CURLE_OK) return std::unexpected(error_of(transfer, code));
    if (const char* const missing = what_is_missing(transfer)) {
      return fail(ErrorKind::unknown_outcome, "fetch.transport.cut", missing,
                  "the connection broke before the answer was complete");
    }
    RawResponse& response = transfer.response;
    response.status = transfer.head.status();
    response.headers = std::move(transfer.head.headers());
    response.unframed = transfer.head.framing() == Framing::connection_end && !is_tls(transfer);
    response.bytes_sent = transfer.request.body.size();
    // Growing writes zeros, shrinking keeps the bytes: they stay readable behind the end as
    // capacity.
    const std::size_t size = response.body.size();
    response.body.resize(size + kBodyPadding);
    response.body.resize(size);
    if (transfer.inflater) {  // they describe what came over the wire
      std::erase_if(response.headers, [](const auto& header) {
        return curl_strequal(header.first.c_str(), "content-encoding") != 0 ||
               curl_strequal(header.first.c_str(), "content-length") != 0;
      });
    }
    return std::move(response);
  }

  static bool is_tls(const Transfer& transfer) {
    return transfer.request.url.starts_with("https://");
  }

  /// That libcurl is content does not say that the end was seen: it takes an answer that breaks off
  /// in its head for one without a body, and any end of a connection for the end of an answer
  /// without a length. Null: nothing is missing.
  static const char* what_is_missing(const Transfer& transfer) {
    const AnswerHead& head = transfer.head;
    switch (head.framing()) {
      case Framing::unknown:
        return "the answer ends within its headers";
      case Framing::length:
        if (transfer.response.bytes_received != head.length())
          return "the answer is not as long as it says";
        break;
      case Framing::connection_end:
        if (is_tls(transfer) && !(transfer.goodbye && transfer.goodbye->said))
          return "the answer says nowhere how long it is, and its connection ended without TLS's "
                 "close_notify";
        if (transfer.inflater && !transfer.inflater->has_member())
          return "the response body ends before its gzip data";
        break;
      case Framing::no_body:
      case Framing::chunked:
        break;  // libcurl has seen the end
    }
    if (transfer.inflater && !transfer.inflater->complete())
      return "the response body ends within its gzip data";
    return nullptr;
  }

  static Error error_of(const Transfer& transfer, CURLcode code) {
    // Where one address may not be dialled and another did not answer, it is the other's failure;
    // but who asks for what is the host's own is told so.
    const bool dialled_another = !transfer.dialled.empty() && code != CURLE_ABORTED_BY_CALLBACK;
    const bool for_its_address = transfer.refused_own || !dialled_another;
    if (!transfer.refused.empty() && !transfer.sent && for_its_address) {
      return Error(ErrorKind::denied, "fetch.policy.address",
                   fmt::format("the host's address is not allowed: {}", transfer.refused),
                   transfer.refused_own
                       ? "what is Sluice's own is closed to connectors, whatever was opened for one"
                       : "vendors live on the public internet; an admin can open an exception for "
                         "this connection");
    }
    const ErrorKind lost = transfer.sent ? ErrorKind::unknown_outcome : ErrorKind::reconnect;
    if (code == CURLE_OUT_OF_MEMORY && transfer.phase == Phase::headers) {
      // Curl's own bound of one line, which on_header never sees.
      return Error(ErrorKind::unsupported, "fetch.limit.header_bytes_max",
                   fmt::format("a single response header is larger than header_bytes_max {}",
                               transfer.request.limits.header_bytes_max),
                   "no vendor needs that; ask them, or raise the limit");
    }
    const char* const detail =
        transfer.detail[0] != 0 ? transfer.detail.data() : curl_easy_strerror(code);
    const bool verifies = code != CURLE_PEER_FAILED_VERIFICATION &&
                          code != CURLE_SSL_CACERT_BADFILE && code != CURLE_SSL_ISSUER_ERROR;
    if (transfer.through_proxy && !transfer.sent && verifies) {
      // What libcurl had heard of the inner certificate it forgets as it tells the peer so.
      const bool is_dim =
          code == CURLE_SSL_CONNECT_ERROR && transfer.options.proxy.starts_with("https://");
      return Error(lost, "fetch.transport.proxy",
                   fmt::format("{}{}", detail,
                               is_dim ? " (by an https proxy a certificate that does not verify "
                                        "looks like this, too)"
                                      : ""),
                   "the proxy of fetch.proxy let nothing through; its log says why");
    }
    switch (code) {
      case CURLE_COULDNT_RESOLVE_HOST:
        return Error(lost, std::string(kNoAddress), detail, "check the host name and the DNS");
      case CURLE_COULDNT_CONNECT:
      case CURLE_OPERATION_TIMEDOUT:
        return Error(lost, "fetch.transport.connect", detail,
                     "check the network and the vendor's status page");
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CACERT_BADFILE:
      case CURLE_SSL_ISSUER_ERROR:
        return Error(ErrorKind::unsupported, "fetch.transport.certificate", detail,
                     "the vendor's certificate does not verify; nothing was sent");
      case CURLE_SSL_CONNECT_ERROR:
        return Error(lost, "fetch.transport.tls", detail, "the TLS handshake failed");
      case CURLE_PARTIAL_FILE:
      case CURLE_GOT_NOTHING:
      case CURLE_RECV_ERROR:
      case CURLE_SEND_ERROR:
        return Error(lost, "fetch.transport.cut", detail,
                     "the connection broke before the answer was complete");
      case CURLE_BAD_CONTENT_ENCODING:
        return Error(ErrorKind::unsupported, "fetch.transport.encoding", detail,
                     "the body's encoding is broken");
      case CURLE_WEIRD_SERVER_REPLY:
      case CURLE_UNSUPPORTED_PROTOCOL:
      case CURLE_URL_MALFORMAT:
        return Error(ErrorKind::unsupported, "fetch.transport.protocol", detail,
                     "this is not HTTP as Sluice speaks it");
      default:
        return Error(lost, "fetch.transport.other",
                     fmt::format("{} (curl {})", detail, static_cast<int>(code)), "");
    }
  }

  /// Takes the transfer out of curl and wakes its coroutine. Not from a callback of curl.
  void end(Transfer& transfer, Result<RawResponse> result) {
    SLUICE_INVARIANT(!transfer.done);
    active.erase(&transfer);
    curl_multi_remove_handle(multi, transfer.easy);
    CURL* const easy = std::exchange(transfer.easy, nullptr);
    curl_easy_reset(easy);
    // One that failed before it had a connection still holds its buffer, and takes no options then.
    if (result && spare.size() < kSpareHandlesMax) {
      spare.push_back(easy);
    } else {
      curl_easy_cleanup(easy);
    }
    transfer.lines.reset();
    transfer.pins.reset();
    transfer.result.emplace(std::move(result));
    transfer.done = true;
    transfer.bell.cancel();
  }

  /// Curl gives up an address, and goes on to the next one, only when something has it look at the
  /// clock, and for that it sets no timer. A look is at all transfers; one is enough for all that
  /// are connecting.
  void look_at_the_clock(TimePoint now) {
    if (now < looked_at + kLooksApart) return;
    looked_at = now;
    int running = 0;
    curl_multi_perform(multi, &running);
    end_what_is_done();
  }

  /// The bell rang, at a deadline: either there was progress since and it moves, or the transfer
  /// ends.
  void expire(Transfer& transfer) {
    const TimePoint now = SteadyClock::now();
    if (now < transfer.deadline()) return look_at_the_clock(now);
    const bool total = now >= transfer.started + transfer.request.deadlines.total;
    if (!total && progressed(transfer, now)) return;
    const auto over = [&](const char* name, milliseconds limit, const char* what) {
      const ErrorKind kind = transfer.sent ? ErrorKind::unknown_outcome : ErrorKind::reconnect;
      end(transfer,
          fail(kind, fmt::format("fetch.transport.{}_timeout", name),
               fmt::format("{} within {} ({} deadline)", what, shown(limit), name),
               "the vendor or the network is slow; it is tried again where that is safe"));
    };
    const Deadlines& limits = transfer.request.deadlines;
    if (total) return over("total", limits.total, "the transfer did not finish");
    switch (transfer.phase) {
      case Phase::connecting:
        return over("connect", limits.connect, "no connection");
      case Phase::tls:
        return over("tls", limits.tls, "the TLS handshake did not finish");
      case Phase::headers:
        return over("headers", limits.headers, "the response's headers did not arrive");
      case Phase::body:
        return over("idle", limits.idle, "no further byte of the response body arrived");
    }
  }

  static bool progressed(Transfer& transfer, TimePoint now) {
    CURL* const easy = transfer.easy;
    if (transfer.phase == Phase::connecting) {
      // Curl does not say mid-way that TCP is done; the sockets do.
      const auto connected = [](curl_socket_t socket) {
        sockaddr_storage peer{};
        socklen_t size = sizeof peer;
        return ::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size) == 0;
      };
      if (std::ranges::none_of(transfer.dialled, connected)) return false;
      transfer.phase = Phase::tls;
      transfer.phase_started = now;
      // Curl's own bound counts to the end of the handshake.
      const Deadlines& limits = transfer.request.deadlines;
      set(easy, CURLOPT_CONNECTTIMEOUT_MS,
          static_cast<long>((limits.connect + limits.tls + milliseconds(1000)).count()));
      return true;
    }
    if (transfer.phase == Phase::tls) return false;
    if (transfer.phase == Phase::body) return false;  // on_body moves it
    const curl_off_t bytes = info<curl_off_t>(easy, CURLINFO_SIZE_UPLOAD_T);
    if (bytes <= transfer.bytes_sent) return false;
    transfer.bytes_sent = bytes;
    transfer.phase_started = now;
    return true;
  }

  static Task<Result<RawResponse>> perform(std::shared_ptr<Core> core, RawRequest request) {
    if (core->multi == nullptr) {
      co_return fail(ErrorKind::cancelled, "fetch.cancelled", "the client was shut down");
    }
    const bool proxy = core->through_proxy(request);
    Transfer transfer(core->executor, std::move(request), core->options, proxy);
    struct Guard {  // the frame may be destroyed while it waits
      Core& core;
      Transfer& transfer;
      ~Guard() {
        if (transfer.easy != nullptr) {
          core.end(transfer,
                   fail(ErrorKind::cancelled, "fetch.cancelled", "the transfer was cancelled"));
        }
      }
    } guard{*core, transfer};
    core->begin(transfer);
    while (!transfer.done) {
      transfer.armed = std::min(transfer.deadline(), transfer.next_look());
      transfer.poked = false;
      transfer.bell.expires_at(transfer.armed);
      boost::system::error_code rung;
      co_await transfer.bell.async_wait(asio::redirect_error(asio::use_awaitable, rung));
      if (transfer.done) break;
      if (rung && !transfer.poked) {
        co_return fail(ErrorKind::cancelled, "fetch.cancelled", "the transfer was cancelled");
      }
      if (!rung) core->expire(transfer);
    }
    co_return std::move(*transfer.result);
  }

  Global global;
  Executor executor;
  CurlOptions options;
  CURLM* multi = nullptr;  ///< null once closed
  asio::steady_timer timer;
  std::uint64_t timer_generation = 0;
  TimePoint looked_at{};
  std::unordered_map<curl_socket_t, std::shared_ptr<Watch>> watches;
  std::vector<CURL*> spare;
  std::unordered_set<Transfer*> active;
};

CurlMulti::CurlMulti(Executor executor, CurlOptions options)
    : core_(std::make_shared<Core>(std::move(executor), std::move(options))) {}

CurlMulti::~CurlMulti() { core_->close(); }

Task<Result<RawResponse>> CurlMulti::perform(RawRequest request) {
  return Core::perform(core_, std::move(request));
}

std::size_t CurlMulti::in_flight() const { return core_->active.size(); }

}  // namespace sluice::fetch
