#include "bench/parts/page_server.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <stdexcept>
#include <string_view>
#include <thread>

namespace sluice::bench {
namespace {

constexpr std::size_t kIdDigits = 22;
constexpr std::string_view kAlphabet =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

std::uint64_t mixed(std::uint64_t x) {  // splitmix64
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

void put_id(char* out, std::uint64_t set, std::uint64_t record) {
  std::uint64_t a = mixed(set * 0x1000000000u + record);
  std::uint64_t b = mixed(a);
  for (std::size_t i = 0; i < kIdDigits; ++i) {
    std::uint64_t& from = i % 2 == 0 ? a : b;
    out[i] = kAlphabet[from % kAlphabet.size()];
    from /= kAlphabet.size();
  }
}

bool send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

std::uint64_t parameter(std::string_view request, std::string_view name) {
  const std::size_t at = request.find(name);
  std::uint64_t value = 0;
  if (at == std::string_view::npos) return value;
  const char* begin = request.data() + at + name.size();
  std::from_chars(begin, request.data() + request.size(), value);
  return value;
}

void serve_one(int socket) {
  Pages pages;
  std::string received;
  char buffer[16 * 1024];
  for (;;) {
    const ssize_t size = ::recv(socket, buffer, sizeof(buffer), 0);
    if (size <= 0) break;
    received.append(buffer, static_cast<std::size_t>(size));
    const std::size_t end = received.find("\r\n\r\n");
    if (end == std::string::npos) continue;
    const std::string_view head = std::string_view(received).substr(0, end);
    const std::uint64_t set = parameter(head, "set="), page = parameter(head, "page=");
    const std::string& body = pages.body(set, page);
    const std::string status = fmt::format(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.size());
    if (!send_all(socket, status) || !send_all(socket, body)) break;
    received.erase(0, end + 4);
    pages.body(set, page + 1);  // ahead: it is not this vendor that is measured
  }
  ::close(socket);
}

}  // namespace

Pages::Pages() {
  constexpr std::string_view kStatus[] = {"succeeded", "pending", "failed", "refunded"};
  constexpr std::string_view kCurrency[] = {"eur", "usd", "gbp", "sek", "jpy"};
  const std::string blank(kIdDigits, '-');
  body_ = R"({"object":"list","url":"/v1/items","has_more":true,"data":[)";
  for (std::uint64_t i = 0; i < kPageRecords; ++i) {
    const std::uint64_t r = mixed(i);
    if (i > 0) body_ += ',';
    body_ += R"({"id":"it_)";
    ids_.push_back(body_.size());
    body_ += blank;
    fmt::format_to(
        std::back_inserter(body_),
        R"(","object":"item","amount":{0},"amount_captured":{1},"amount_refunded":{2},)"
        R"("application":null,"application_fee":null,"available_on":{3},)"
        R"("billing_details":{{"address":{{"city":"Springfield","country":"US","line1":"{4} )"
        R"(Evergreen Terrace","line2":null,"postal_code":"{5}","state":"OR"}},"phone":null}},)"
        R"("captured":{6},"created":{7},"currency":"{8}","customer":"cus_{9:014x}",)"
        R"("description":"Subscription creation, order {10} of the year","disputed":false,)"
        R"("email":")",
        r % 100'000, r % 90'000, r % 7 == 0 ? r % 900 : 0, 1'700'000'000 + r % 50'000'000, r % 990,
        10'000 + r % 89'999, r % 11 != 0, 1'690'000'000 + r % 50'000'000, kCurrency[r % 5],
        r % 0xFFFFFFFFFFF, r % 77'777);
    emails_.push_back(body_.size());
    body_ += blank;
    fmt::format_to(
        std::back_inserter(body_),
        R"(@example.com","fee":"{0}.{1:02}","failure_code":null,"failure_message":null,)"
        R"("fraud_details":{{}},"invoice":null,"livemode":false,"metadata":{{"order":"{2}"}},)"
        R"("number":"N-{3:08}","on_behalf_of":null,"outcome":{{"network_status":)"
        R"("approved_by_network","reason":null,"risk_level":"normal","seller_message":)"
        R"("Payment complete.","type":"authorized"}},"paid":true,"payment_method":)"
        R"("pm_{4:024x}","receipt_number":"{5:04}-{6:04}","risk_score":{7}.5,)"
        R"("statement_descriptor":"SPRINGFIELD SHOP {8}","status":"{9}","transfer_group":null}})",
        r % 900, r % 100, r % 99'991, r % 100'000'000, r, r % 10'000, (r >> 8) % 10'000, r % 99,
        r % 50, kStatus[r % 4]);
  }
  body_ += "]}";
}

const std::string& Pages::body(std::uint64_t set, std::uint64_t page) {
  if (made_ && set_ == set && page_ == page) return body_;
  made_ = true;
  set_ = set;
  page_ = page;
  for (std::uint64_t i = 0; i < kPageRecords; ++i) {
    put_id(body_.data() + ids_[i], set, page * kPageRecords + i);
    // Another id's name: keys are as random as ids, and in another order.
    put_id(body_.data() + emails_[i], set + (std::uint64_t{1} << 24), page * kPageRecords + i);
  }
  return body_;
}

std::string Pages::external_id(std::uint64_t set, std::uint64_t record) {
  std::string id = "it_" + std::string(kIdDigits, '-');
  put_id(id.data() + 3, set, record);
  return id;
}

void serve_pages(int port_fd) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener, 64) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("the page server cannot listen on 127.0.0.1");
  }
  const std::string port = fmt::format("{}\n", ntohs(address.sin_port));
  if (::write(port_fd, port.data(), port.size()) != static_cast<ssize_t>(port.size())) std::exit(1);
  ::close(port_fd);
  for (;;) {
    const int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) continue;
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    std::thread(serve_one, socket).detach();
  }
}

}  // namespace sluice::bench
