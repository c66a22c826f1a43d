#include "api/client_stream.hpp"

#include "base/log.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

namespace sluice::api {
namespace {

std::unexpected<Error> no_good(const std::filesystem::path& file, const std::string& why) {
  return fail(ErrorKind::bad_input, "listen.tls", fmt::format("{}: {}", file.string(), why),
              "listen.tls_certificate is a PEM file with the certificate and its chain, "
              "listen.tls_key one with its key, which this host's user may read");
}

}  // namespace

std::string TlsFiles::stamp() const {
  std::string text;
  for (const auto& file : {certificate_, key_}) {
    struct stat facts {};
    if (::stat(file.c_str(), &facts) != 0) return {};
    text += fmt::format("{}.{}.{}.{} ", facts.st_ino, facts.st_size, facts.st_mtim.tv_sec,
                        facts.st_mtim.tv_nsec);
  }
  return text;
}

Result<TlsContext> TlsFiles::read() const {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  boost::system::error_code error;
  context->use_certificate_chain_file(certificate_.string(), error);
  if (error) return no_good(certificate_, error.message());
  context->use_private_key_file(key_.string(), asio::ssl::context::pem, error);
  if (error) return no_good(key_, error.message());
  if (SSL_CTX_check_private_key(context->native_handle()) != 1)
    return no_good(key_, "it is not the certificate's key");
  return context;
}

Result<TlsFiles> TlsFiles::load(std::filesystem::path certificate, std::filesystem::path key) {
  TlsFiles files(std::move(certificate), std::move(key));
  files.stamp_ = files.stamp();
  auto context = files.read();
  if (!context) return std::unexpected(std::move(context.error()));
  files.context_ = std::move(*context);
  return files;
}

TlsContext TlsFiles::context(std::chrono::steady_clock::time_point now) {
  if (now - looked_ < kLookEvery) return context_;
  looked_ = now;
  const std::string stamp_now = stamp();
  if (stamp_now.empty() || stamp_now == stamp_) return context_;
  auto renewed = read();
  if (!renewed) {
    log::error("api.tls_files", {{"error", renewed.error().describe()}});
    return context_;
  }
  stamp_ = stamp_now;
  context_ = std::move(*renewed);
  log::info("api.tls_renewed", {{"certificate", certificate_.string()}});
  return context_;
}

}  // namespace sluice::api
