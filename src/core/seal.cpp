#include "foreweave/core/seal.hpp"

#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <limits>
#include <string>
#include <system_error>

namespace foreweave {
namespace {

constexpr std::size_t nonce_bytes = 12;
using Nonce = std::array<std::uint8_t, nonce_bytes>;

/// A failure of the library itself (out of memory, no entropy, no such algorithm), not of what it was given.
[[noreturn]] void throw_openssl(const std::string& operation) {
  const unsigned long code = ERR_get_error();
  char text[256] = "no reason given";
  if (code != 0) ERR_error_string_n(code, text, sizeof text);
  throw Error(ErrorCategory::security, operation, std::string("OpenSSL: ") + text, static_cast<long>(code));
}

int hex_value(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

/// Never repeats the text: it may be most of a key.
void parse_key(std::string_view text, const std::string& operation, std::array<std::uint8_t, 32>& out) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  bool good = text.size() == 2 * out.size();
  for (std::size_t i = 0; good && i < out.size(); ++i) {
    const int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
    good = high >= 0 && low >= 0;
    if (good) out[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  if (!good) {
    OPENSSL_cleanse(out.data(), out.size());
    throw Error(ErrorCategory::security, operation,
                "a key is 64 hexadecimal digits; these are " + std::to_string(text.size()) +
                    " characters or not all hexadecimal (make one with: openssl rand -hex 32)");
  }
}

/// The key of one object: HKDF-SHA256 of the job's key, the object's salt and a fixed label.
std::array<std::uint8_t, 32> derive(const Key& key, const SealSalt& salt) {
  const std::string operation = "derive a sealing key";
  const std::unique_ptr<EVP_KDF, void (*)(EVP_KDF*)> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr), EVP_KDF_free);
  if (!kdf) throw_openssl(operation);
  const std::unique_ptr<EVP_KDF_CTX, void (*)(EVP_KDF_CTX*)> context(EVP_KDF_CTX_new(kdf.get()), EVP_KDF_CTX_free);
  if (!context) throw_openssl(operation);
  char digest[] = "SHA256";
  char label[] = "foreweave seal 1";
  auto secret = key.bytes();
  auto salted = salt;
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret.data(), secret.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salted.data(), salted.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, label, sizeof label - 1), OSSL_PARAM_construct_end()};
  std::array<std::uint8_t, 32> derived;
  const int done = EVP_KDF_derive(context.get(), derived.data(), derived.size(), parameters);
  OPENSSL_cleanse(secret.data(), secret.size());
  if (done != 1) throw_openssl(operation);
  return derived;
}

Nonce nonce_of(std::uint64_t piece) {
  Nonce nonce{};
  std::memcpy(nonce.data(), &piece, sizeof piece);
  return nonce;
}

/// OpenSSL counts in int.
int length_of(std::size_t size, std::string_view operation) {
  if (size > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw Error(ErrorCategory::argument, std::string(operation),
                std::to_string(size) + " bytes are too many for one sealed piece; at most 2147483647");
  }
  return static_cast<int>(size);
}

const unsigned char* data_of(ByteView bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }

}  // namespace

std::shared_ptr<const Key> Key::from_hex(std::string_view hex) {
  const std::shared_ptr<Key> key(new Key);
  parse_key(hex, "read key", key->bytes_);
  return key;
}

std::shared_ptr<const Key> Key::from_file(const std::filesystem::path& file) {
  const std::string operation = "read key file " + file.string();
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    const int code = errno;
    throw Error(code == ENOENT ? ErrorCategory::absent : ErrorCategory::io, operation,
                std::generic_category().message(code), code);
  }
  const std::unique_ptr<const int, void (*)(const int*)> closer(&fd, [](const int* open) { ::close(*open); });
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    const int code = errno;
    throw Error(ErrorCategory::io, operation, std::generic_category().message(code), code);
  }
  if (!S_ISREG(status.st_mode)) throw Error(ErrorCategory::security, operation, "not a regular file");
  if ((status.st_mode & 07777) != 0600 && (status.st_mode & 07777) != 0400) {
    char mode[16];
    std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(status.st_mode & 07777));
    throw Error(ErrorCategory::security, operation,
                std::string("its mode is ") + mode + ", but only its owner may read a key: chmod 600 it");
  }
  if (status.st_uid != ::geteuid()) {
    throw Error(ErrorCategory::security, operation,
                "it belongs to user " + std::to_string(status.st_uid) + ", not to this process's user " +
                    std::to_string(::geteuid()));
  }
  std::array<char, 256> text;  // more than a key and the white space around it
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(fd, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const int code = errno;
      OPENSSL_cleanse(text.data(), text.size());
      throw Error(ErrorCategory::io, operation, std::generic_category().message(code), code);
    }
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  const std::shared_ptr<Key> key(new Key);
  try {
    parse_key({text.data(), size}, operation, key->bytes_);
  } catch (...) {
    OPENSSL_cleanse(text.data(), text.size());
    throw;
  }
  OPENSSL_cleanse(text.data(), text.size());
  return key;
}

std::shared_ptr<const Key> Key::from_bytes(const std::array<std::uint8_t, 32>& bytes) {
  const std::shared_ptr<Key> key(new Key);
  key->bytes_ = bytes;
  return key;
}

std::shared_ptr<const Key> Key::random() {
  const std::shared_ptr<Key> key(new Key);
  if (RAND_priv_bytes(key->bytes_.data(), static_cast<int>(key->bytes_.size())) != 1) throw_openssl("make a key");
  return key;
}

Key::~Key() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

struct Sealer::State {
  std::array<std::uint8_t, 32> key;
  std::unique_ptr<EVP_CIPHER_CTX, void (*)(EVP_CIPHER_CTX*)> context{EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free};
  bool sealed_any = false;
  std::uint64_t last_piece = 0;
  ~State() { OPENSSL_cleanse(key.data(), key.size()); }
};

Sealer::Sealer(const Key& key, const SealSalt& salt) : state_(std::make_unique<State>()) {
  if (!state_->context) throw_openssl("make a cipher");
  state_->key = derive(key, salt);
}

Sealer::~Sealer() = default;

SealSalt Sealer::random_salt() {
  SealSalt salt;
  if (RAND_bytes(salt.data(), static_cast<int>(salt.size())) != 1) throw_openssl("make a salt");
  return salt;
}

void Sealer::seal(std::uint64_t piece, ByteView plain, ByteView associated, Bytes& out) {
  const std::size_t begin = out.size();
  out.resize(begin + plain.size() + seal_tag_bytes);
  try {
    seal_to(piece, plain, associated, out.data() + begin);
  } catch (...) {
    out.resize(begin);
    throw;
  }
}

void Sealer::seal_to(std::uint64_t piece, ByteView plain, ByteView associated, std::byte* out) {
  const std::string operation = "seal piece " + std::to_string(piece);
  if (state_->sealed_any && piece <= state_->last_piece) {
    throw Error(ErrorCategory::state, operation,
                "pieces are sealed in ascending order, so that no nonce is used twice; the last was " +
                    std::to_string(state_->last_piece));
  }
  const int size = length_of(plain.size(), operation), extra = length_of(associated.size(), operation);
  state_->sealed_any = true;
  state_->last_piece = piece;
  auto* const context = state_->context.get();
  const Nonce nonce = nonce_of(piece);
  auto* const target = reinterpret_cast<unsigned char*>(out);
  int done = 0;
  if (EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nullptr, state_->key.data(), nonce.data()) != 1 ||
      (extra != 0 && EVP_EncryptUpdate(context, nullptr, &done, data_of(associated), extra) != 1) ||
      (size != 0 && EVP_EncryptUpdate(context, target, &done, data_of(plain), size) != 1) ||
      EVP_EncryptFinal_ex(context, target + size, &done) != 1 ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, seal_tag_bytes, target + size) != 1) {
    throw_openssl(operation);
  }
}

void Sealer::open(std::uint64_t piece, ByteView sealed, ByteView associated, Bytes& out, std::string_view what) {
  const std::string operation = "open sealed " + std::string(what);
  if (sealed.size() < seal_tag_bytes) {
    throw Error(ErrorCategory::security, operation,
                "truncated: " + std::to_string(sealed.size()) + " bytes are less than a tag");
  }
  const ByteView cipher = sealed.first(sealed.size() - seal_tag_bytes), tag = sealed.last(seal_tag_bytes);
  const int size = length_of(cipher.size(), operation), extra = length_of(associated.size(), operation);
  out.resize(cipher.size());
  auto* const context = state_->context.get();
  const Nonce nonce = nonce_of(piece);
  auto* const target = reinterpret_cast<unsigned char*>(out.data());
  std::array<unsigned char, seal_tag_bytes> expected;
  std::memcpy(expected.data(), tag.data(), tag.size());
  unsigned char none = 0;
  int done = 0;
  if (EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nullptr, state_->key.data(), nonce.data()) != 1 ||
      (extra != 0 && EVP_DecryptUpdate(context, nullptr, &done, data_of(associated), extra) != 1) ||
      (size != 0 && EVP_DecryptUpdate(context, target, &done, data_of(cipher), size) != 1) ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, seal_tag_bytes, expected.data()) != 1) {
    out.clear();
    throw_openssl(operation);
  }
  if (EVP_DecryptFinal_ex(context, size != 0 ? target + size : &none, &done) != 1) {
    OPENSSL_cleanse(out.data(), out.size());
    out.clear();
    throw Error(ErrorCategory::security, operation, "the seal does not verify: wrong key, or the data was changed");
  }
}

}  // namespace foreweave
