"""The messages of taxiway/protocols/open_inference.proto, written by configs/protos.py."""

# In a pool of its own: tritonclient and KServe's SDK register the same full names in the default pool, which takes
# each name once, so that one process could not hold both. Without protoc's own Python code there is also no bond to
# the versions of protobuf and grpcio that wrote it.

import base64

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

DESCRIPTOR = DescriptorPool().AddSerializedFile(
    base64.b64decode(
        "CiZ0YXhpd2F5L3Byb3RvY29scy9vcGVuX2luZmVyZW5jZS5wcm90bxIJaW5mZXJlbmNlIhMKEVNlcnZlckxpdmVSZXF1ZXN0IigK"
        "ElNlcnZlckxpdmVSZXNwb25zZRISCgRsaXZlGAEgASgIUgRsaXZlIhQKElNlcnZlclJlYWR5UmVxdWVzdCIrChNTZXJ2ZXJSZWFk"
        "eVJlc3BvbnNlEhQKBXJlYWR5GAEgASgIUgVyZWFkeSJBChFNb2RlbFJlYWR5UmVxdWVzdBISCgRuYW1lGAEgASgJUgRuYW1lEhgK"
        "B3ZlcnNpb24YAiABKAlSB3ZlcnNpb24iKgoSTW9kZWxSZWFkeVJlc3BvbnNlEhQKBXJlYWR5GAEgASgIUgVyZWFkeSIXChVTZXJ2"
        "ZXJNZXRhZGF0YVJlcXVlc3QiZgoWU2VydmVyTWV0YWRhdGFSZXNwb25zZRISCgRuYW1lGAEgASgJUgRuYW1lEhgKB3ZlcnNpb24Y"
        "AiABKAlSB3ZlcnNpb24SHgoKZXh0ZW5zaW9ucxgDIAMoCVIKZXh0ZW5zaW9ucyJEChRNb2RlbE1ldGFkYXRhUmVxdWVzdBISCgRu"
        "YW1lGAEgASgJUgRuYW1lEhgKB3ZlcnNpb24YAiABKAlSB3ZlcnNpb24izwIKFU1vZGVsTWV0YWRhdGFSZXNwb25zZRISCgRuYW1l"
        "GAEgASgJUgRuYW1lEhoKCHZlcnNpb25zGAIgAygJUgh2ZXJzaW9ucxIaCghwbGF0Zm9ybRgDIAEoCVIIcGxhdGZvcm0SRwoGaW5w"
        "dXRzGAQgAygLMi8uaW5mZXJlbmNlLk1vZGVsTWV0YWRhdGFSZXNwb25zZS5UZW5zb3JNZXRhZGF0YVIGaW5wdXRzEkkKB291dHB1"
        "dHMYBSADKAsyLy5pbmZlcmVuY2UuTW9kZWxNZXRhZGF0YVJlc3BvbnNlLlRlbnNvck1ldGFkYXRhUgdvdXRwdXRzGlYKDlRlbnNv"
        "ck1ldGFkYXRhEhIKBG5hbWUYASABKAlSBG5hbWUSGgoIZGF0YXR5cGUYAiABKAlSCGRhdGF0eXBlEhQKBXNoYXBlGAMgAygDUgVz"
        "aGFwZSKdCAoRTW9kZWxJbmZlclJlcXVlc3QSHQoKbW9kZWxfbmFtZRgBIAEoCVIJbW9kZWxOYW1lEiMKDW1vZGVsX3ZlcnNpb24Y"
        "AiABKAlSDG1vZGVsVmVyc2lvbhIOCgJpZBgDIAEoCVICaWQSTAoKcGFyYW1ldGVycxgEIAMoCzIsLmluZmVyZW5jZS5Nb2RlbElu"
        "ZmVyUmVxdWVzdC5QYXJhbWV0ZXJzRW50cnlSCnBhcmFtZXRlcnMSRQoGaW5wdXRzGAUgAygLMi0uaW5mZXJlbmNlLk1vZGVsSW5m"
        "ZXJSZXF1ZXN0LkluZmVySW5wdXRUZW5zb3JSBmlucHV0cxJRCgdvdXRwdXRzGAYgAygLMjcuaW5mZXJlbmNlLk1vZGVsSW5mZXJS"
        "ZXF1ZXN0LkluZmVyUmVxdWVzdGVkT3V0cHV0VGVuc29yUgdvdXRwdXRzEiwKEnJhd19pbnB1dF9jb250ZW50cxgHIAMoDFIQcmF3"
        "SW5wdXRDb250ZW50cxrNAgoQSW5mZXJJbnB1dFRlbnNvchISCgRuYW1lGAEgASgJUgRuYW1lEhoKCGRhdGF0eXBlGAIgASgJUghk"
        "YXRhdHlwZRIUCgVzaGFwZRgDIAMoA1IFc2hhcGUSXQoKcGFyYW1ldGVycxgEIAMoCzI9LmluZmVyZW5jZS5Nb2RlbEluZmVyUmVx"
        "dWVzdC5JbmZlcklucHV0VGVuc29yLlBhcmFtZXRlcnNFbnRyeVIKcGFyYW1ldGVycxI6Cghjb250ZW50cxgFIAEoCzIeLmluZmVy"
        "ZW5jZS5JbmZlclRlbnNvckNvbnRlbnRzUghjb250ZW50cxpYCg9QYXJhbWV0ZXJzRW50cnkSEAoDa2V5GAEgASgJUgNrZXkSLwoF"
        "dmFsdWUYAiABKAsyGS5pbmZlcmVuY2UuSW5mZXJQYXJhbWV0ZXJSBXZhbHVlOgI4ARrzAQoaSW5mZXJSZXF1ZXN0ZWRPdXRwdXRU"
        "ZW5zb3ISEgoEbmFtZRgBIAEoCVIEbmFtZRJnCgpwYXJhbWV0ZXJzGAIgAygLMkcuaW5mZXJlbmNlLk1vZGVsSW5mZXJSZXF1ZXN0"
        "LkluZmVyUmVxdWVzdGVkT3V0cHV0VGVuc29yLlBhcmFtZXRlcnNFbnRyeVIKcGFyYW1ldGVycxpYCg9QYXJhbWV0ZXJzRW50cnkS"
        "EAoDa2V5GAEgASgJUgNrZXkSLwoFdmFsdWUYAiABKAsyGS5pbmZlcmVuY2UuSW5mZXJQYXJhbWV0ZXJSBXZhbHVlOgI4ARpYCg9Q"
        "YXJhbWV0ZXJzRW50cnkSEAoDa2V5GAEgASgJUgNrZXkSLwoFdmFsdWUYAiABKAsyGS5pbmZlcmVuY2UuSW5mZXJQYXJhbWV0ZXJS"
        "BXZhbHVlOgI4ASLfBQoSTW9kZWxJbmZlclJlc3BvbnNlEh0KCm1vZGVsX25hbWUYASABKAlSCW1vZGVsTmFtZRIjCg1tb2RlbF92"
        "ZXJzaW9uGAIgASgJUgxtb2RlbFZlcnNpb24SDgoCaWQYAyABKAlSAmlkEk0KCnBhcmFtZXRlcnMYBCADKAsyLS5pbmZlcmVuY2Uu"
        "TW9kZWxJbmZlclJlc3BvbnNlLlBhcmFtZXRlcnNFbnRyeVIKcGFyYW1ldGVycxJJCgdvdXRwdXRzGAUgAygLMi8uaW5mZXJlbmNl"
        "Lk1vZGVsSW5mZXJSZXNwb25zZS5JbmZlck91dHB1dFRlbnNvclIHb3V0cHV0cxIuChNyYXdfb3V0cHV0X2NvbnRlbnRzGAYgAygM"
        "UhFyYXdPdXRwdXRDb250ZW50cxrQAgoRSW5mZXJPdXRwdXRUZW5zb3ISEgoEbmFtZRgBIAEoCVIEbmFtZRIaCghkYXRhdHlwZRgC"
        "IAEoCVIIZGF0YXR5cGUSFAoFc2hhcGUYAyADKANSBXNoYXBlEl8KCnBhcmFtZXRlcnMYBCADKAsyPy5pbmZlcmVuY2UuTW9kZWxJ"
        "bmZlclJlc3BvbnNlLkluZmVyT3V0cHV0VGVuc29yLlBhcmFtZXRlcnNFbnRyeVIKcGFyYW1ldGVycxI6Cghjb250ZW50cxgFIAEo"
        "CzIeLmluZmVyZW5jZS5JbmZlclRlbnNvckNvbnRlbnRzUghjb250ZW50cxpYCg9QYXJhbWV0ZXJzRW50cnkSEAoDa2V5GAEgASgJ"
        "UgNrZXkSLwoFdmFsdWUYAiABKAsyGS5pbmZlcmVuY2UuSW5mZXJQYXJhbWV0ZXJSBXZhbHVlOgI4ARpYCg9QYXJhbWV0ZXJzRW50"
        "cnkSEAoDa2V5GAEgASgJUgNrZXkSLwoFdmFsdWUYAiABKAsyGS5pbmZlcmVuY2UuSW5mZXJQYXJhbWV0ZXJSBXZhbHVlOgI4ASLX"
        "AQoOSW5mZXJQYXJhbWV0ZXISHwoKYm9vbF9wYXJhbRgBIAEoCEgAUglib29sUGFyYW0SIQoLaW50NjRfcGFyYW0YAiABKANIAFIK"
        "aW50NjRQYXJhbRIjCgxzdHJpbmdfcGFyYW0YAyABKAlIAFILc3RyaW5nUGFyYW0SIwoMZG91YmxlX3BhcmFtGAQgASgBSABSC2Rv"
        "dWJsZVBhcmFtEiMKDHVpbnQ2NF9wYXJhbRgFIAEoBEgAUgt1aW50NjRQYXJhbUISChBwYXJhbWV0ZXJfY2hvaWNlIsMCChNJbmZl"
        "clRlbnNvckNvbnRlbnRzEiMKDWJvb2xfY29udGVudHMYASADKAhSDGJvb2xDb250ZW50cxIhCgxpbnRfY29udGVudHMYAiADKAVS"
        "C2ludENvbnRlbnRzEiUKDmludDY0X2NvbnRlbnRzGAMgAygDUg1pbnQ2NENvbnRlbnRzEiMKDXVpbnRfY29udGVudHMYBCADKA1S"
        "DHVpbnRDb250ZW50cxInCg91aW50NjRfY29udGVudHMYBSADKARSDnVpbnQ2NENvbnRlbnRzEiMKDWZwMzJfY29udGVudHMYBiAD"
        "KAJSDGZwMzJDb250ZW50cxIjCg1mcDY0X2NvbnRlbnRzGAcgAygBUgxmcDY0Q29udGVudHMSJQoOYnl0ZXNfY29udGVudHMYCCAD"
        "KAxSDWJ5dGVzQ29udGVudHMy/AMKFEdSUENJbmZlcmVuY2VTZXJ2aWNlEksKClNlcnZlckxpdmUSHC5pbmZlcmVuY2UuU2VydmVy"
        "TGl2ZVJlcXVlc3QaHS5pbmZlcmVuY2UuU2VydmVyTGl2ZVJlc3BvbnNlIgASTgoLU2VydmVyUmVhZHkSHS5pbmZlcmVuY2UuU2Vy"
        "dmVyUmVhZHlSZXF1ZXN0Gh4uaW5mZXJlbmNlLlNlcnZlclJlYWR5UmVzcG9uc2UiABJLCgpNb2RlbFJlYWR5EhwuaW5mZXJlbmNl"
        "Lk1vZGVsUmVhZHlSZXF1ZXN0Gh0uaW5mZXJlbmNlLk1vZGVsUmVhZHlSZXNwb25zZSIAElcKDlNlcnZlck1ldGFkYXRhEiAuaW5m"
        "ZXJlbmNlLlNlcnZlck1ldGFkYXRhUmVxdWVzdBohLmluZmVyZW5jZS5TZXJ2ZXJNZXRhZGF0YVJlc3BvbnNlIgASVAoNTW9kZWxN"
        "ZXRhZGF0YRIfLmluZmVyZW5jZS5Nb2RlbE1ldGFkYXRhUmVxdWVzdBogLmluZmVyZW5jZS5Nb2RlbE1ldGFkYXRhUmVzcG9uc2Ui"
        "ABJLCgpNb2RlbEluZmVyEhwuaW5mZXJlbmNlLk1vZGVsSW5mZXJSZXF1ZXN0Gh0uaW5mZXJlbmNlLk1vZGVsSW5mZXJSZXNwb25z"
        "ZSIAYgZwcm90bzM="
    )
)
_MESSAGES = DESCRIPTOR.message_types_by_name

ServerLiveRequest = GetMessageClass(_MESSAGES["ServerLiveRequest"])
ServerLiveResponse = GetMessageClass(_MESSAGES["ServerLiveResponse"])
ServerReadyRequest = GetMessageClass(_MESSAGES["ServerReadyRequest"])
ServerReadyResponse = GetMessageClass(_MESSAGES["ServerReadyResponse"])
ModelReadyRequest = GetMessageClass(_MESSAGES["ModelReadyRequest"])
ModelReadyResponse = GetMessageClass(_MESSAGES["ModelReadyResponse"])
ServerMetadataRequest = GetMessageClass(_MESSAGES["ServerMetadataRequest"])
ServerMetadataResponse = GetMessageClass(_MESSAGES["ServerMetadataResponse"])
ModelMetadataRequest = GetMessageClass(_MESSAGES["ModelMetadataRequest"])
ModelMetadataResponse = GetMessageClass(_MESSAGES["ModelMetadataResponse"])
ModelInferRequest = GetMessageClass(_MESSAGES["ModelInferRequest"])
ModelInferResponse = GetMessageClass(_MESSAGES["ModelInferResponse"])
InferParameter = GetMessageClass(_MESSAGES["InferParameter"])
InferTensorContents = GetMessageClass(_MESSAGES["InferTensorContents"])
