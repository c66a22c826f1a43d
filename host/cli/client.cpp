#include "cli/client.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <exception>

#include "base/exact_json.hpp"
#include "base/percent.hpp"

namespace sluice::cli {
namespace {

struct Upload {
  const std::function<std::string()>* read;
  std::string piece;
  std::size_t sent = 0;
  std::exception_ptr failure;  ///< of `read`
};

std::size_t on_read(char* out, std::size_t size, std::size_t count, void* context) {
  auto& upload = *static_cast<Upload*>(context);
  if (upload.sent == upload.piece.size()) {
    try {
      upload.piece = (*upload.read)();
    } catch (...) {  // not through the library, which is C
      upload.failure = std::current_exception();
      return CURL_READFUNC_ABORT;
    }
    upload.sent = 0;
  }
  const std::size_t take = std::min(size * count, upload.piece.size() - upload.sent);
  std::memcpy(out, upload.piece.data() + upload.sent, take);
  upload.sent += take;
  return take;
}

std::size_t on_write(char* data, std::size_t size, std::size_t count, void* context) {
  static_cast<std::string*>(context)->append(data, size * count);
  return size * count;
}

/// "text/csv; charset=utf-8" is of type text/csv.
bool is_of_type(CURL* curl, std::string_view media_type) {
  const char* type = nullptr;
  curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
  const std::string_view given = type == nullptr ? "" : type;
  return given.substr(0, given.find(';')) == media_type;
}

struct Download {
  CURL* curl;
  const std::string* media_type;
  const std::function<bool(std::string_view)>* write;
  std::string other;  ///< an answer of another kind: a problem
  std::size_t given = 0;
  bool ended = false;          ///< `write` wants no more
  std::exception_ptr failure;  ///< of `write`
};

std::size_t on_piece(char* data, std::size_t size, std::size_t count, void* context) {
  auto& download = *static_cast<Download*>(context);
  constexpr std::size_t kOtherMax = 1 << 20;
  long status = 0;
  curl_easy_getinfo(download.curl, CURLINFO_RESPONSE_CODE, &status);
  if (status >= 400 || !is_of_type(download.curl, *download.media_type)) {
    if (download.other.size() < kOtherMax) download.other.append(data, size * count);
    return size * count;
  }
  try {
    download.ended = !(*download.write)(std::string_view(data, size * count));
  } catch (...) {  // not through the library, which is C
    download.failure = std::current_exception();
    return 0;
  }
  download.given += size * count;
  return download.ended ? 0 : size * count;
}

constexpr const char* kNotSluice =
    "Is that really sluiced? It says at its start where it listens; name that with --url or "
    "SLUICE_URL, or sluice context use NAME";

/// What to do about it: not each of them means that nobody is there.
std::string hint_for(CURLcode code, const ClientOptions& options) {
  const bool speaks_tls = options.url.starts_with("https:");
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
      return "Its certificate is not one that this machine trusts, or has another name: give the "
             "file of the authority that signed it with --ca-file or SLUICE_CA_FILE, and the name "
             "in it with --url";
    case CURLE_SSL_CACERT_BADFILE:
      return "--ca-file, or SLUICE_CA_FILE, cannot be read: " + options.ca_file;
    case CURLE_SSL_CONNECT_ERROR:
      return "No TLS is spoken there: is it http://?";
    case CURLE_UNSUPPORTED_PROTOCOL:
      return "An address begins with http:// or https://";
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
      if (!speaks_tls) return "Does it speak TLS? Then its address begins with https://";
      break;
    default:
      break;
  }
  return "Is sluiced running there? Name its address with --url or SLUICE_URL; sluice login URL "
         "keeps it, and sluice context use NAME changes to another";
}

Error unreachable(CURLcode code, const ClientOptions& options) {
  return Error(ErrorKind::retry_later, "host.unreachable",
               "no answer from " + options.url + ": " + curl_easy_strerror(code),
               hint_for(code, options));
}

std::string text_of(const json& body) {
  std::optional<std::string> text = write_utf8_json(body);
  if (text) return std::move(*text);
  throw Failure(Error(ErrorKind::bad_input, "cli.not_utf8", "what was given is not UTF-8"));
}

Error error_of(const json& answer, long status) {
  const auto text = [&](const char* member) {
    const auto found = answer.is_object() ? answer.find(member) : answer.end();
    return answer.is_object() && found != answer.end() && found->is_string()
               ? found->get<std::string>()
               : std::string();
  };
  const ErrorKind kind = status == 401 || status == 403 ? ErrorKind::denied
                         : status == 404                ? ErrorKind::not_found
                         : status == 409                ? ErrorKind::conflict
                         : status == 501                ? ErrorKind::unsupported
                         : status == 429                ? ErrorKind::retry_later
                         : status == 503                ? ErrorKind::retry_later
                         : status >= 500                ? ErrorKind::internal
                                                        : ErrorKind::bad_input;
  std::string detail = text("detail");
  if (detail.empty() && text("code").empty()) {
    return Error(kind, "host.nonsense",
                 "the answer is HTTP status " + std::to_string(status) + ", not in Sluice's words",
                 kNotSluice);
  }
  if (detail.empty()) detail = "the host answered with HTTP status " + std::to_string(status);
  return Error(kind, text("code"), std::move(detail), text("hint"));
}

}  // namespace

Client::Client(ClientOptions options) : options_(std::move(options)), curl_(nullptr) {
  while (options_.url.ends_with('/')) options_.url.pop_back();
  const bool printable = std::all_of(options_.token.begin(), options_.token.end(),
                                     [](char c) { return c > ' ' && c < 0x7F; });
  if (!printable) {
    throw Failure(Error(ErrorKind::denied, "token.unknown",
                        "the token has blanks or control characters in it",
                        "Copy it again: slc_ and what follows, on one line"));
  }
  curl_ = curl_easy_init();
  if (curl_ == nullptr)
    throw Failure(Error(ErrorKind::internal, "cli.curl", "libcurl cannot start"));
}

Client::~Client() { curl_easy_cleanup(curl_); }

std::string Client::escape(const std::string& part) { return percent_encoded<std::string>(part); }

json Client::me() { return global("GET", "/v1/me"); }

const std::string& Client::workspace() {
  if (!options_.workspace.empty()) return options_.workspace;
  json answer;
  try {
    answer = me();
  } catch (const Failure& failure) {
    if (failure.error().code != "request.no_such_path") throw;  // a host from before it
  }
  std::vector<std::string> known;
  if (const auto names = answer.find("workspaces"); names != answer.end() && names->is_array()) {
    for (const json& name : *names)
      if (name.is_string()) known.push_back(name.get<std::string>());
  }
  const bool has_main = std::find(known.begin(), known.end(), "main") != known.end();
  if (known.size() == 1) {
    options_.workspace = known.front();
  } else if (known.empty() || has_main || answer.value("more", false)) {
    options_.workspace = "main";
  } else {
    std::string all;
    for (const std::string& name : known) all += (all.empty() ? "" : ", ") + name;
    throw Failure(Error(ErrorKind::bad_input, "workspace.which",
                        "no workspace is named, and this token knows several: " + all,
                        "-w " + known.front() + ", or export SLUICE_WORKSPACE=" + known.front() +
                            "; sluice login -w NAME keeps it"));
  }
  return options_.workspace;
}

std::string Client::host_version() {
  try {
    const json document = global("GET", "/openapi.json");
    const json::json_pointer version("/info/version");
    if (document.contains(version) && document.at(version).is_string())
      return document.at(version).get<std::string>();
  } catch (const std::exception&) {
    return {};  // somebody else's words, or nobody's
  }
  return {};
}

std::string Client::workspace_url(const std::string& path, const Query& query) {
  std::string url = options_.url + "/v1/workspaces/" + escape(workspace()) + path;
  char separator = '?';
  for (const auto& [name, value] : query) {
    url += separator + escape(name) + "=" + escape(value);
    separator = '&';
  }
  return url;
}

json Client::get(const std::string& path, const Query& query) {
  return perform("GET", workspace_url(path, query), nullptr, {}, nullptr);
}

json Client::send(const std::string& method, const std::string& path, const json& body) {
  const std::string text = text_of(body);
  return perform(method, workspace_url(path, {}), &text, "application/json", nullptr);
}

json Client::upload(const std::string& path, const Query& query, const std::string& content_type,
                    const std::function<std::string()>& read) {
  return perform("POST", workspace_url(path, query), nullptr, content_type, &read);
}

json Client::global(const std::string& method, const std::string& path, const json& body) {
  const std::string text = body.is_null() ? std::string() : text_of(body);
  return perform(method, options_.url + path, body.is_null() ? nullptr : &text, "application/json",
                 nullptr);
}

void Client::prepare(const std::string& url) {
  CURL* curl = curl_;
  curl_easy_reset(curl);
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  if (!options_.ca_file.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, options_.ca_file.c_str());
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
  if (options_.most.count() > 0)
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(options_.most.count()));
}

bool Client::download(const std::string& path, const Query& query, const std::string& media_type,
                      const std::function<bool(std::string_view)>& write) {
  prepare(workspace_url(path, query));
  CURL* curl = curl_;
  Download download{curl, &media_type, &write, {}, 0, false, nullptr};
  curl_slist* headers =
      curl_slist_append(nullptr, ("Authorization: Bearer " + options_.token).c_str());
  headers = curl_slist_append(headers, ("Accept: " + media_type).c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_piece);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &download);
  const CURLcode code = curl_easy_perform(curl);
  curl_slist_free_all(headers);
  if (download.failure) std::rethrow_exception(download.failure);
  if (download.ended) return false;
  if (code != CURLE_OK && download.given > 0) {
    throw Failure(Error(ErrorKind::retry_later, "host.answer_cut",
                        "the answer broke off after " + std::to_string(download.given) +
                            " bytes and is not whole: " + curl_easy_strerror(code),
                        "The host's log says why (api.answer_cut); ask again"));
  }
  if (code != CURLE_OK) throw Failure(unreachable(code, options_));
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  if (status >= 400)
    throw Failure(error_of(read_ordered_json(download.other).value_or(json()), status));
  if (!is_of_type(curl, media_type)) {
    throw Failure(Error(ErrorKind::internal, "host.nonsense",
                        options_.url + " does not answer with " + media_type,
                        "Is it of an older release? sluice version says which"));
  }
  curl_header* link = nullptr;
  return curl_easy_header(curl, "Link", 0, CURLH_HEADER, -1, &link) == CURLHE_OK;
}

json Client::perform(const std::string& method, const std::string& url, const std::string* body,
                     const std::string& content_type, const std::function<std::string()>* read) {
  prepare(url);
  CURL* curl = curl_;
  std::string answer;
  Upload upload{read, {}, 0, nullptr};
  curl_slist* headers =
      curl_slist_append(nullptr, ("Authorization: Bearer " + options_.token).c_str());
  if (!content_type.empty())
    headers = curl_slist_append(headers, ("Content-Type: " + content_type).c_str());
  headers = curl_slist_append(headers, "Expect:");
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
  if (body != nullptr) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body->c_str());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body->size()));
  } else if (read != nullptr) {
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(curl, CURLOPT_READDATA, &upload);
    headers = curl_slist_append(headers, "Transfer-Encoding: chunked");
  }
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());
  const CURLcode code = curl_easy_perform(curl);
  curl_slist_free_all(headers);
  if (upload.failure) std::rethrow_exception(upload.failure);
  if (code != CURLE_OK) throw Failure(unreachable(code, options_));
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  auto document = read_ordered_json(answer);
  if (status >= 400) throw Failure(error_of(document.value_or(json()), status));
  if (document) return std::move(*document);
  throw Failure(Error(ErrorKind::internal, "host.nonsense",
                      options_.url + " did not answer with JSON", kNotSluice));
}

}  // namespace sluice::cli
