"""The report's own words and sentences in Chinese. What comes from files and people (names, texts, reasons) stays as it is (`Theirs`)."""

from __future__ import annotations

import re

CHINESE = {
    # facts
    "Plate": "底片", "Cast": "替身安排", "Frames": "帧数", "Encoding": "编码", "Analysis": "分析", "Quality": "质量", "Look": "观感",
    "File": "文件", "Log": "交付日志",
    "Continued": "续渲", "Voice": "声音", "Language": "语言", "Text": "文本", "Mouth from": "口型来源", "Emotion": "情绪",
    "Seed": "随机种子", "Plate is": "底片类型",
    "Campaign": "批次", "Viewers": "观众", "Variants": "版本", "Plates": "底片", "Rules": "规则",
    "draft": "草稿", "standard": "标准", "final": "终版", "footage": "实拍素材", "a portrait brought to life": "活起来的肖像", "not told": "未说明",
    "phones and their times": "音素及其时间", "the sound alone": "仅凭声音",
    # sheets and curves
    "Plate above, result below": "上：底片，下：结果",
    "Mouth opening": "张嘴", "Smile, brow, lid": "微笑、眉、眼睑", "Gaze": "视线", "Light on the face": "脸部光照",
    "Presence of the double": "替身可见度", "Key atlas": "关键图集",
    "jaw drop": "下颌下降", "lips part": "双唇分开", "lip corner pull (left)": "嘴角上扬（左）", "inner brow raise (left)": "内眉上抬（左）",
    "lid close (left)": "眼睑闭合（左）", "gaze yaw (degrees)": "视线偏航（度）", "light (linear)": "光照（线性）", "presence": "可见度", "key": "图集",
    "Attention": "注意力", "share of the frame's faces": "在画面各张脸中的占比",
    "degrees to the subject's left": "朝被摄者左侧的度数", "scene-linear luminance": "场景线性亮度", "index": "序号",
    # stages
    "decode": "解码", "place": "定位", "convert": "转换", "draw": "绘制", "refine": "细化", "composite": "合成", "encode": "编码", "mark": "隐形标记",
    "gate": "内容检查", "passes": "分层", "hair": "头发", "Stage": "阶段", "ms / frame": "毫秒/帧", "Sum": "合计",
    # labels, consent, gate
    "Visible label": "可见标识", "AIGC (GB 45438)": "AIGC 隐式标识（GB 45438）", "IPTC digital source type": "IPTC 数字来源类型",
    "C2PA manifest": "C2PA 清单", "Invisible mark": "隐形标记", "Content gate": "内容检查", "Revocation list": "撤回名单", "Decision": "结论",
    "Highest score": "最高分", "Frames looked at": "检查的帧", "none": "无", "none given": "未指定",
    "waived; the reason is in the log": "已豁免；理由见日志",
    "reused": "沿用已有分析",
    # headings
    "Digidouble quality report": "Digidouble 质量报告", "Warnings": "注意事项", "Facts": "基本信息", "Contact sheets": "画面对照", "Curves": "曲线",
    "Time": "耗时", "Labels": "标识", "Consent": "授权", "Gate": "检查",
    "The pictures in this report are AI-generated composites.": "本报告中的画面由 AI 合成。",
}  # fmt: skip


# Sentences with names and numbers in them: what is in brackets is taken over.
SENTENCES = {
    # facts, labels, consent, gate
    r"first (\d+) frame\(s\)": r"前 \1 帧",
    r"(\d+) in ([\d.]+) s \(([\d.]+) frames/s\)": r"\1 帧，用时 \2 秒（\3 帧/秒）",
    r"continued: (\d+) of (\d+) frames were there already": r"续渲：\2 帧中已有 \1 帧",
    r"made in ([\d.]+) s": r"用时 \1 秒",
    r"granted by (.*) for (.*) until (\d{4}-\d\d-\d\d|None); (.*)": r"由 \1 授权，用途：\2，有效期至 \3；依据：\4",
    r"(.*), limit ([\d.]+): passed": r"\1，上限 \2：通过",
    r"(.*), limit ([\d.]+): refused": r"\1，上限 \2：拒绝",
    r"([\d.]+) \(plate, frame (\d+)\)": r"\1（底片，第 \2 帧）",
    r"([\d.]+) \(result, frame (\d+)\)": r"\1（成片，第 \2 帧）",
    r"attention of track (\d+)": r"轨迹 \1 的注意力",
    r"made by this program \(AI voice\); (.*)": r"由本程序生成（AI 语音）；\1",
    r"recording (.*?); (.*)": r"录音 \1；\2",
    r"([\d.]+) s, of them ([\d.]+) s analysis": r"\1 秒，其中分析 \2 秒",
    r"(\d+) unique, (\d+) rendered in this run": r"\1 个不同版本，本次渲染 \2 个",
    r"(\d+) of (\d+) variants, at their middle frame": r"\2 个版本中的 \1 个，取各自中间一帧",
    r"and (\d+) more rows; the results table has them all": r"另有 \1 行；全部见结果表",
    # warnings of deliveries
    r"the plate's sound is damaged \((.*)\); the rest of it was left out": r"底片的声音已损坏（\1）；其余部分未写入",
    r"sound stream (.*) \((.*)\) cannot be stored in (.*) and was left out": r"第 \1 条声音（\2）无法存入 \3，未写入",
    r"scene-linear float was encoded to 0\.\.1; highlights above white were clipped \(EXR keeps them\)":
        "场景线性浮点已编码到 0..1；高于白点的高光被截断（EXR 可保留）",
    r"(.*) holds no alpha here; the plate's was dropped \(ProRes 4444 and FFV1 keep it\)":
        r"\1 在此不含 alpha，底片的 alpha 已丢弃（ProRes 4444 与 FFV1 可保留）",
    r"(.*)-bit samples were reduced to (.*) bits for (.*)": r"为写入 \3，\1 位样本已降为 \2 位",
    r"the plate's frame rate varies and was made constant: check lip sync on long takes": "底片帧率可变，已改为恒定：长镜头请检查口型同步",
    r"the start timecode reads back as (.*), not (.*)": r"回读的起始时码为 \1，应为 \2",
    r"the frames' own matrix reads back as (.*), not (.*)": r"回读的帧内矩阵为 \1，应为 \2",
    r"the container stores (.*) frames/s where the shot has (.*)": r"容器中的帧率为 \1 帧/秒，镜头为 \2",
    r"the file's colour tags read back as (.*), not (.*)": r"回读的色彩标签为 \1，应为 \2",
    r"(.*) holds 8 bits; the plate is deeper \(PNG, TIFF and EXR keep it\)": r"\1 只有 8 位，底片位深更高（PNG、TIFF、EXR 可保留）",
    r"JPEG has no alpha channel; the plate's alpha was dropped": "JPEG 没有 alpha 通道，底片的 alpha 已丢弃",
    # warnings of plates
    r"(.*): interlaced; fields are kept as they are, not separated": r"\1：隔行扫描；场保持原样，未拆分",
    r"(.*): cut short: (.*) of (.*) frames are there and used": r"\1：文件不完整：应有 \3 帧，使用现有的 \2 帧",
    r"(.*): damaged: (.*) of (.*) frames do not decode and are left out": r"\1：已损坏：\3 帧中有 \2 帧无法解码，已略去",
    r"(.*): frame times stray up to (.*) frames from a constant (.*) frames/s; every frame is kept once, at that rate":
        r"\1：帧时间与恒定的 \3 帧/秒最多相差 \2 帧；每帧按该帧率各保留一次",
}  # fmt: skip
_COMPILED = tuple((re.compile(pattern), words) for pattern, words in SENTENCES.items())


class Theirs(str):
    """Text of a report that is people's own (what is spoken, names, files): never translated, even where it equals one of our words."""


def chinese(text: str) -> str:
    """The Chinese of one of the report's own words or sentences; anything else unchanged."""
    if isinstance(text, Theirs):
        return text
    if text in CHINESE:
        return CHINESE[text]
    found = next(((m, words) for p, words in _COMPILED if (m := p.fullmatch(text))), None)
    return found[0].expand(found[1]) if found else text
