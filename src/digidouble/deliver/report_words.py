"""The report's own words in Chinese. What comes from files (names, warnings, reasons) stays as it is."""

from __future__ import annotations

CHINESE = {
    # facts
    "Plate": "底片", "Cast": "替身安排", "Frames": "帧数", "Encoding": "编码", "Analysis": "分析", "Quality": "质量", "Look": "观感",
    "File": "文件", "Log": "交付日志",
    # sheets and curves
    "Plate above, result below": "上：底片，下：结果",
    "Mouth opening": "张嘴", "Smile, brow, lid": "微笑、眉、眼睑", "Gaze": "视线", "Light on the face": "脸部光照",
    "Presence of the double": "替身可见度", "Key atlas": "关键图集",
    "jaw drop": "下颌下降", "lips part": "双唇分开", "lip corner pull (left)": "嘴角上扬（左）", "inner brow raise (left)": "内眉上抬（左）",
    "lid close (left)": "眼睑闭合（左）", "gaze yaw (degrees)": "视线偏航（度）", "light (linear)": "光照（线性）", "presence": "可见度", "key": "图集",
    "degrees to the subject's left": "朝被摄者左侧的度数", "scene-linear luminance": "场景线性亮度", "index": "序号",
    # stages
    "decode": "解码", "place": "定位", "convert": "转换", "draw": "绘制", "refine": "细化", "composite": "合成", "encode": "编码", "mark": "隐形标记",
    "gate": "内容检查", "Stage": "阶段", "ms / frame": "毫秒/帧", "Sum": "合计",
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


def chinese(text: str) -> str:
    """The Chinese of one of the report's own words; anything else unchanged."""
    return CHINESE.get(text, text)
