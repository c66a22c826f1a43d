// A small HTTP server that answers each path in its own bad way, on a real socket.
#pragma once

#include <boost/asio.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/async.hpp"

namespace sluice::fetch_test {

struct Seen {
  std::string method, target, body;
  std::map<std::string, std::string> headers;  ///< names in lower case
};

/// Owner: the test, on the loop that the client runs on too. Connections live until their peer goes
/// or the context ends. "/script/<name>" answers with the scripted texts in order, the last one for
/// ever.
class HostileServer {
 public:
  explicit HostileServer(asio::io_context& loop);

  [[nodiscard]] std::string url() const;
  [[nodiscard]] unsigned short port() const { return acceptor_.local_endpoint().port(); }

  std::map<std::string, std::vector<std::string>> scripts;
  std::vector<Seen> seen;
  int connections = 0;
  int open_requests = 0;  ///< answered only when released() is reached
  int open_requests_max = 0;
  int cut_by_peer = 0;              ///< connections that the client closed while a body was stalled
  bool released = false;            ///< lets "/hold" answer
  std::size_t body_bytes_sent = 0;  ///< of "/page-of-50-mb"

 private:
  Task<> accept();
  Task<> serve(asio::ip::tcp::socket socket);
  Task<bool> answer(asio::ip::tcp::socket& socket, const Seen& request);
  Task<> linger(asio::ip::tcp::socket& socket);

  asio::ip::tcp::acceptor acceptor_;
};

/// `text` as one gzip member.
std::string gzip(const std::string& text);
/// A complete response with Content-Length.
std::string http(int status, const std::string& body, const std::string& extra_headers = "");

}  // namespace sluice::fetch_test
